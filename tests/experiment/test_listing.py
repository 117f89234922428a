"""Every key of the settings is listed with its meaning."""

from __future__ import annotations

from pydiffgeo.experiment.listing import json_schema, listing


def test_every_key_is_listed_with_its_meaning() -> None:
    text = "\n".join(listing())
    for words in (
        "  held_out  [0]  Sites only judged",
        "  unit_hydrograph: ",
        "    rtol  [None]  Relative tolerance",
    ):
        assert words in text
    schema = json_schema()
    assert {"data", "hybrid", "loss", "training", "runs"} <= set(schema["properties"])
    assert (
        "required" not in schema["properties"]["runs"]["additionalProperties"]["properties"]["data"]
    )
