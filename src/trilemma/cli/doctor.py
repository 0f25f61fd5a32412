"""``trilemma doctor``: what this machine has, and which plug-ins are installed. It only reads."""


def doctor() -> None:
    """Print what this machine has, and which plug-ins are installed."""
    from rich.table import Table
    from rich.text import Text

    from trilemma.hardware.doctor import doctor as findings
    from trilemma.study.plugins import installed
    from trilemma.terminal import output

    table = Table(show_header=False, box=None)
    for topic, finding in (*findings(), *installed()):
        table.add_row(Text(topic, "bold"), Text(finding))
    output().print(table)
