"""The plan of a query, for libraries without SQL."""

import decimal


def keys(join):
    """Returns the stream's and the table's key columns of a join, in pairs."""
    return [tuple(side.strip() for side in pair.split("=")) for pair in join["on"].split(" AND ")]


def taken(join):
    """Returns the table's columns that come out, each with the name it then has."""
    pairs = []
    for column in join["take"]:
        name, _, alias = column.partition(" AS ")
        pairs.append((name, alias or name))
    return pairs


def times(join):
    """Returns an as-of join's times and the comparison between them, the stream's first; or None."""
    return tuple(join["as_of"].split()) if join.get("as_of") else None


# Where the match of an as-of join lies, and whether it may be at the same time.
SIDES = {">=": ("backward", True), ">": ("backward", False), "<=": ("forward", True), "<": ("forward", False)}


def threshold(query):
    """Returns column and number of the filter `column > number`, or None."""
    if not query["filter"]:
        return None
    column, number = query["filter"].split(" > ")
    return column, decimal.Decimal(number)


def stream_columns(query):
    """Returns the stream's columns that a query reads, without the filter's."""
    columns = list(query["select"])
    for join in query["join"]:
        columns += [left for left, _ in keys(join) if left not in columns]
        columns += [left for left in (times(join) or ())[:1] if left not in columns]
    return columns


def outputs(query):
    """Returns the names of the columns that come out, in order."""
    return query["select"] + [name for join in query["join"] for _, name in taken(join)]
