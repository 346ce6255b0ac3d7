"""The JSON configuration of Clara's DICOM adapter, 0.7 and 0.8, in the shape in which it was printed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clara_argo.errors import DefinitionError, Finding, Level
from clara_argo.formats import adapter, load
from clara_argo.model.route import Configuration, Destination, Route, Settle, Source

PRINTED = """\
{
  "DicomAdapter": {
    "dicom": {
      "scp": {
        "port": 11112, // DICOM port
        "log-dimse-datasets": false,
        "reject-unknown-sources": true,
        "maximumNumberOfAssociations": 25,
        "verification": {"enabled": true, "transferSyntaxes": ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"]},
        "aeTitles": [
          {
            "name": "liver-seg",
            "aeTitle": "LiverSeg",
            "overwriteSameInstance": false,
            "ignoredSopClasses": [],
            "processor": "Nvidia.Clara.Server.Processors.AeTitleJobProcessor, Nvidia.Clara.DicomAdapter",
            "processorSettings": {
              "timeout": "7",
              "jobRetryDelay": "1000",
              "priority": "Higher",
              "groupBy": "0020,000D",
              "pipeline-liver": "8abf244aef7a4ae0a2ba2a42e6b3b0f5",
              "pipeline-spleen": "spleen-seg",
            }
          }
        ],
        "sources": [
          {"aeTitle": "PACS1", "hostIp": "10.20.30.1"},
          {"aeTitle": "PACS1", "hostIp": "10.20.30.2"}
        ]
      },
      "scu": {
        "ae-title": "ClaraSCU",
        "log-data-pdus": false,
        "export": {
          "maximumRetries": 3
          "failureThreshold" 0.5,
          "pollFrequencyMs": 500
        },
        "destinations": [{"name": "MYPACS", "aeTitle": "ORTHANC", "hostIp": "10.20.30.9", "port": 4242}]
      }
    },
    "services": {
      "platform": {"endpoint": "10.0.0.1:30031", "maxRetries": 3, "retryDelaySeconds": 180, "parallelUploads": 4,
        "uploadMetadata": false, "metadataDicomSource": ["0008,0060"]},
      "resultsServiceEndpoint": "http://10.0.0.1:8088"
    },
    "storage": {"temporary": "/payloads", "watermarkPercent": 85, "reserveSpaceGB": 5},
    "readAeTitlesFromCrd": false,
    "crdReadIntervals": 10000
  },
  "Logging": {"LogLevel": {"Default": "Information"}},
  "host": "0.0.0.0"
}
"""


def findings_of(text: str) -> tuple[Finding, ...]:
    try:
        return adapter.read(text, "a.json")[1]
    except DefinitionError as error:
        return error.findings


def test_the_printed_form() -> None:
    configuration, findings = adapter.read(PRINTED, "a.json")
    assert configuration == Configuration(
        ae_title="ClaraSCU",
        spool="spool",
        host="0.0.0.0",
        sources=(
            Source(name="PACS1", ae_title="PACS1", host="10.20.30.1"),
            Source(name="PACS1-2", ae_title="PACS1", host="10.20.30.2"),
        ),
        destinations=(Destination(name="MYPACS", ae_title="ORTHANC", host="10.20.30.9", port=4242),),
        routes=(
            Route(
                name="liver-seg",
                called="LiverSeg",
                sources=("PACS1", "PACS1-2"),
                workflows=("8abf244aef7a4ae0a2ba2a42e6b3b0f5", "spleen-seg"),
                destinations=("MYPACS",),
                settle=Settle(quiet=7.0),
            ),
        ),
    )
    warned = [(finding.code, finding.line) for finding in findings if finding.level is Level.WARNING]
    assert warned == [("R6", 5), ("R6", 23), ("R6", 37), ("R6", 37), ("threshold", 37)]
    noticed = {finding.code for finding in findings if finding.level is Level.NOTICE}
    assert noticed == {
        "limits", "verification", "retry", "priority", "export", "services", "storage", "crd", "not-followed",
        "destination",
    }  # fmt: skip


TITLE = PRINTED[PRINTED.index('"aeTitles"') : PRINTED.index('"sources"')]
CHANGES = [
    (TITLE, "", "no-ae-titles", Level.ERROR),
    ('"0020,000D"', '"0020,000E"', "group-by", Level.ERROR),
    ('"0020,000D"', '"(0020,000d)"', "", Level.NOTICE),
    ('"Higher"', '"urgent"', "value", Level.ERROR),
    ('"7"', "-1", "value", Level.ERROR),
    ('"7"', '"2"', "timeout", Level.NOTICE),
    ('"timeout"', '"timeot"', "unknown-setting", Level.ERROR),
    ("Processors.AeTitleJobProcessor", "Processors.Own", "processor", Level.ERROR),
    ('"ignoredSopClasses": []', '"ignoredSopClasses": ["1.2.840.10008.5.1.4.1.1.7"]', "sop-classes", Level.ERROR),
    ('"overwriteSameInstance": false', '"overwriteSameInstance": true', "overwrite", Level.WARNING),
    ('"pipeline-spleen": "spleen-seg"', '"pipeline-spleen": ""', "value", Level.ERROR),
    ('"log-dimse-datasets": false', '"logDimseDatasets": true', "log", Level.NOTICE),
    ('"log-dimse-datasets": false', '"rejectUnknownSources": true', "duplicate-key", Level.ERROR),
    ('"log-data-pdus": false', '"logDataPDUs": true', "log", Level.NOTICE),
    ('"uploadMetadata": false', '"uploadMetadata": true', "metadata", Level.NOTICE),
    ('"readAeTitlesFromCrd": false', '"readAeTitlesFromCrd": true', "crd", Level.NOTICE),
    ('"storage"', '"storrage"', "unknown-key", Level.WARNING),
    ("\n  \"host\": \"0.0.0.0\"", '\n"spool": "/s"', "host", Level.WARNING),
    ("11112, //", "104, //", "port", Level.WARNING),
    ('"DicomAdapter"', '"InformaticsGateway"', "dialect", Level.ERROR),
    ('"scu": {', '"scu": [], "x": {', "kind", Level.ERROR),
    ('"timeout":', '"Timeout": "9", "timeout":', "duplicate-key", Level.ERROR),
    ('"priority":', '"job-retry-delay": 2, "priority":', "duplicate-key", Level.ERROR),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "code", "level"), CHANGES, ids=[f"{c[2]}-{c[1][:24]}" for c in CHANGES])
def test_what_is_said(old: str, new: str, code: str, level: Level) -> None:
    assert old in PRINTED
    found = findings_of(PRINTED.replace(old, new, 1))
    if not code:
        assert all(finding.level is not Level.ERROR for finding in found)
        return
    named = [finding for finding in found if finding.code == code and finding.level is level]
    assert named and all(finding.line and finding.column for finding in named)


def test_two_titles_of_one_name_are_an_error() -> None:
    item = TITLE[TITLE.index("[") + 1 : TITLE.rindex("]")]
    assert "duplicate-name" in {f.code for f in findings_of(PRINTED.replace(item, f"{item},{item}"))}


def test_it_is_no_workflow_and_is_said_to_be_what_it_is() -> None:
    with pytest.raises(DefinitionError) as raised:
        load.workflows(PRINTED, "a.json")
    (finding,) = raised.value.findings
    assert (finding.code, finding.hint) == (load.CONFIGURATION, load.CHECK)


def test_what_kubectl_prints_is_for_migrate() -> None:
    for text in (f"kind: List\nitems: [{ENTRY}]\n", ENTRY):
        with pytest.raises(DefinitionError) as raised:
            load.workflows(text, "dump.yaml")
        (finding,) = raised.value.findings
        assert (finding.code, finding.hint) == (load.DIALECT, load.MIGRATE)


ENTRY = "{apiVersion: dicom.clara.nvidia.com/v1beta2, kind: Source, spec: {aeTitle: A, hostIp: h}}"
PIECES = [*PRINTED.splitlines(), '"DicomAdapter"', "{", "}", '"aeTitles": ["A"],', '"aeTitles": {},']


@settings(max_examples=80, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=30), st.integers(0, 60))
def test_nothing_but_our_own_error(pieces: list[str], keep: int) -> None:
    text = "\n".join([*PRINTED.splitlines()[:keep], *pieces, *PRINTED.splitlines()[keep:]])
    try:
        configuration, findings = adapter.read(text)
    except DefinitionError as error:
        assert error.findings
    else:
        assert configuration.ae_title and all(finding.level is not Level.ERROR for finding in findings)
