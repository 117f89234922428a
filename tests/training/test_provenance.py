"""Provenance: what a run was made with can be read again."""

from __future__ import annotations

import json

import torch

from pydiffgeo.training import provenance as origin


def test_it_names_versions_commit_and_threads(monkeypatch):
    found = origin.provenance()
    assert found["torch"] == torch.__version__ and found["threads"] == torch.get_num_threads()
    assert json.loads(json.dumps(found)) == found
    answers = {"rev-parse": "abc", "status": " M file.py"}
    monkeypatch.setattr(origin, "_git", lambda command, *_: answers[command])
    assert origin.provenance()["commit"] == "abc+changes"
    answers["status"] = ""
    assert origin.provenance()["commit"] == "abc"
    monkeypatch.setattr(origin, "_git", lambda *_: "")  # no git, or no repository
    assert origin.provenance()["commit"] == "unknown"
