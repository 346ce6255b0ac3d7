"""A thin client of the Kubernetes API, standard library only: docs/adr/0006 says why it is ours.

`access.find()` says which cluster and with what credentials, `client.Api` speaks to it, `kinds` names what it speaks
of. It knows nothing of workflows or jobs. Proxies are not used, those of the environment neither.
"""
