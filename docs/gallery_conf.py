"""Settings of mkdocs-gallery, which runs docs/tutorials/*.py, that YAML cannot express."""

conf = {"within_subsection_order": "FileNameSortKey"}
