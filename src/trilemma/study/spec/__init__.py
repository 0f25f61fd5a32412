"""A study file, read and checked before any work: YAML to typed, validated settings.

``blocks`` are the parts of a study, each valid by itself; ``consistency`` is what they must agree on;
``study`` is the whole, and reads the file; ``reading`` says by line and field what is wrong with it.
"""

from trilemma.study.spec.blocks import AnyTask, ModelSpec, SetSpec, UserTaskSpec
from trilemma.study.spec.study import Study, load_study, schema

__all__ = ["AnyTask", "ModelSpec", "SetSpec", "Study", "UserTaskSpec", "load_study", "schema"]
