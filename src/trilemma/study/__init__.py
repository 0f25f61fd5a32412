"""Studies: read, planned, run, resumed."""

from trilemma.study.spec import Study, load_study, schema

__all__ = ["Study", "load_study", "schema"]
