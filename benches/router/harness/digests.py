"""Whether contestants wrote the same."""


class Mismatch(Exception):
    """The run is invalid."""


def compare(name, account, reference, events):
    """Each topic has one record for each event, and, with a reference, the reference's digest."""
    for topic, its in account.items():
        if its["records"] != events:
            raise Mismatch(f"{name} wrote {its['records']:,} records to {topic}, not {events:,}")
        if reference and its["digest"] != reference[topic]["digest"]:
            raise Mismatch(f"{name} wrote other records to {topic} than notilog")


def transactions(account):
    """Each transaction leaves a marker in each partition that it wrote to."""
    return max(its["markers"] for its in account.values())
