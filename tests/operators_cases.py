"""A pipeline of operators for a container engine or a cluster: shell scripts with Clara's own paths."""

from __future__ import annotations

JOB = "0123456789abcdef0123456789abcdef"
_PIPELINE = """\
api-version: 0.4.0
name: NAME
parameters: {WORD: }
operators:
- name: First
  container:
    image: IMAGE
    tag: "TAG"
    command: [sh, -c, "cat /input/a > /output/whole; echo ${{WORD}} > /output/part/word"]
  input: [{path: /input}]
  output: [{path: /output}, {path: /output/part, name: part}]
- name: second
  container:
    image: IMAGE
    tag: "TAG"
    command:
    - sh
    - -c
    - cat /input/whole /word/word /dcm/a > $(NVIDIA_CLARA_OUTPUT)/all; echo ${{JOB_ID}} $RUN >> $(OUT)/all
  variables: {RUN: "run-${{JOB_ID}}", OUT: /made}
  input: [{from: first, path: /input}, {from: First, name: part, path: /word}, {path: /dcm}]
  output: [{path: /made}]
- name: send
  container:
    image: clara/register-results
    tag: 1
    command: [python, register.py, --agent, ClaraSCU, --data, '["PACS"]']
  input: [{from: second, path: /input}]
"""


def pipeline(image: str, name: str = "two_readers") -> str:
    """A join of a whole output, a named one and the study; the parameter WORD has no value."""
    repository, _, tag = image.rpartition(":")
    return _PIPELINE.replace("IMAGE", repository).replace("TAG", tag).replace("NAME", name, 1)


def expected(study: str, word: str, job: str) -> str:
    """What the file `all` of the result holds; `study`: the content of the study's file `a`."""
    return f"{study}{word}\n{study}{job} run-{job}\n"
