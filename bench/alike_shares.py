"""The labels of a user's other rows, weighed by how alike their items are to a row's: an input that
bench/multi_task_data.py makes.
"""
import sys

try:
    import numpy
    import scipy.sparse
except ImportError:
    sys.exit("bench/alike_shares.py needs SciPy; `.ci/setup --for bench` installs it")

SHARE_BINS, SMOOTHING = 40, 0.05


def numbered(keys):
    """Each key's number, in the order of their first."""
    number = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    return numpy.array([number[key] for key in keys])


def likeness(users, items):
    """[items, items]: cosine of who viewed the two, 0 of an item with itself."""
    ones = numpy.ones(len(users), numpy.float32)
    views = scipy.sparse.csr_matrix((ones, (users, items)))
    alike = (views.T @ views).toarray()
    lengths = numpy.sqrt(alike.diagonal())
    alike /= lengths
    alike /= lengths[:, None]
    numpy.fill_diagonal(alike, 0)
    return alike


def alike_shares(rows, train, labels):
    """For each label, of each row in which of SHARE_BINS its share is, which its own label does not
    enter."""
    users, items = (numbered([row[side] for row in rows]) for side in (0, 1))
    alike = likeness(users, items)
    # Beside the labels a one: the weight of all of the user's rows.
    values = numpy.array([[1] + [row[label] for label in labels] for row in rows], numpy.float32)
    mean = values[:train].mean(0)
    sums = numpy.zeros_like(values)
    order = numpy.argsort(users, kind="stable")
    for own in numpy.split(order, numpy.flatnonzero(numpy.diff(users[order])) + 1):
        known = own[own < train]
        sums[own] = alike[numpy.ix_(items[own], items[known])] @ values[known]
    sums += SMOOTHING * mean
    for share in (sums[:, 1:] / sums[:, :1]).T:
        edges = numpy.quantile(share, numpy.arange(1, SHARE_BINS) / SHARE_BINS)
        yield numpy.searchsorted(edges, share)
