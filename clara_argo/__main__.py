"""`python -m clara_argo` is `clara`."""

from clara_argo.cli import main

if __name__ == "__main__":
    main()
