"""What the report shows where: ``contents.yaml`` has the headings, and the metrics of tables and charts."""

from importlib.resources import files
from typing import Any

import yaml

CONTENTS: dict[str, Any] = yaml.safe_load((files("trilemma.report") / "contents.yaml").read_text("utf-8"))
