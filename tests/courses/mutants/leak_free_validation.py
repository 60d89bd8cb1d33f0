"""Wrong answers to ml-from-scratch's second assignment."""

from tests.courses.mutants.base import Mutant

_SELECT = """
def cv_select_knn(X, y, folds, m):
    def strength(A, t):
        varies = (A != A[0]).any(axis=0)
        Ac, tc = A - A.mean(axis=0), t - t.mean()
        spread = np.sqrt((Ac**2).sum(axis=0) * (tc @ tc))
        return np.where(varies, {measure} / np.where(varies, spread, 1.0), 0.0)
    parts = []
    for fold in folds:
        rest = np.setdiff1d(np.arange(len(y)), fold)
        A, t = X[rest], y[rest]
        columns = np.argsort(-strength({choose_from}), kind="stable")[:m]
        right = 0
        for row in fold:
            distance = ((A[:, columns] - X[row, columns]) ** 2).sum(axis=1)
            near = np.argsort(distance, kind="stable")[:{neighbours}]
            right += int((2 * t[near].sum() > {neighbours}) == (y[row] == 1))
        parts.append({part})
    return {total}
"""
_HONEST = {
    "measure": "np.abs(tc @ Ac)",
    "choose_from": "A, t",
    "neighbours": 3,
    "part": "right",
    "total": "sum(parts) / len(y)",
}

_TEMPERATURE = """
def fit_temperature(logits, labels):
    Z = np.asarray(logits, dtype=float)
    Z = Z - Z.max(axis=1, keepdims=True)
    rows = np.arange(len(Z))
    def nll(T):
        S = Z / T
        return (np.log(np.exp(S).sum(axis=1)) - S[rows, labels]).mean()
    grid = {grid}
    return {answer}
"""
_FINE = "np.exp(np.linspace(np.log(0.05), np.log(20), 8001))"

MUTANTS = (
    Mutant(
        name="contiguous blocks",
        question="Q1",
        source="""
def stratified_folds(y, k, seed):
    return [part.tolist() for part in np.array_split(np.arange(len(y)), k)]
""",
    ),
    Mutant(
        name="shuffled but not stratified",
        question="Q1",
        source="""
def stratified_folds(y, k, seed):
    order = np.random.default_rng(seed).permutation(len(y))
    return [part.tolist() for part in np.array_split(order, k)]
""",
    ),
    Mutant(
        name="every label dealt from fold 0",
        question="Q1",
        source="""
def stratified_folds(y, k, seed):
    rng = np.random.default_rng(seed)
    folds = [[] for _ in range(k)]
    for label in sorted(set(y)):
        rows = rng.permutation([i for i, value in enumerate(y) if value == label])
        for place, row in enumerate(rows):
            folds[place % k].append(int(row))
    return folds
""",
    ),
    Mutant(
        name="stratified but not shuffled",
        question="Q1",
        source="""
def stratified_folds(y, k, seed):
    order = sorted(range(len(y)), key=lambda i: (y[i], i))
    return [order[j::k] for j in range(k)]
""",
    ),
    Mutant(
        name="global random state",
        question="Q1",
        source="""
def stratified_folds(y, k, seed):
    np.random.seed(seed)
    order = []
    for label in sorted(set(y)):
        order += np.random.permutation([i for i, value in enumerate(y) if value == label]).tolist()
    return [order[j::k] for j in range(k)]
""",
    ),
    Mutant(
        name="drops the remainder",
        question="Q1",
        source="""
def stratified_folds(y, k, seed):
    rng = np.random.default_rng(seed)
    order = []
    for label in sorted(set(y)):
        order += rng.permutation([i for i, value in enumerate(y) if value == label]).tolist()
    size = len(y) // k
    return [order[j::k][:size] for j in range(k)]
""",
    ),
    Mutant(
        name="selects before folding",
        question="Q2",
        source=_SELECT.format(**{**_HONEST, "choose_from": "X, y"}),
    ),
    Mutant(
        name="signed correlation",
        question="Q2",
        source=_SELECT.format(**{**_HONEST, "measure": "(tc @ Ac)"}),
    ),
    Mutant(
        name="covariance instead of correlation",
        question="Q2",
        source=_SELECT.format(**{**_HONEST, "measure": "np.abs(tc @ Ac) * spread"}),
    ),
    Mutant(
        name="one neighbour",
        question="Q2",
        source=_SELECT.format(**{**_HONEST, "neighbours": 1}),
    ),
    Mutant(
        name="mean of the folds' accuracies",
        question="Q2",
        source=_SELECT.format(
            **{**_HONEST, "part": "right / len(fold)", "total": "sum(parts) / len(parts)"}
        ),
    ),
    Mutant(
        name="ties count nothing",
        question="Q3",
        source="""
def auc(labels, scores):
    ones = [s for l, s in zip(labels, scores) if l == 1]
    zeros = [s for l, s in zip(labels, scores) if l == 0]
    if not ones or not zeros:
        return None
    return sum(a > b for a in ones for b in zeros) / (len(ones) * len(zeros))
""",
    ),
    Mutant(
        name="ties count fully",
        question="Q3",
        source="""
def auc(labels, scores):
    ones = [s for l, s in zip(labels, scores) if l == 1]
    zeros = [s for l, s in zip(labels, scores) if l == 0]
    if not ones or not zeros:
        return None
    return sum(a >= b for a in ones for b in zeros) / (len(ones) * len(zeros))
""",
    ),
    Mutant(
        name="ranks in the order of a sort",
        question="Q3",
        source="""
def auc(labels, scores):
    labels = np.asarray(labels)
    n1, n0 = int((labels == 1).sum()), int((labels == 0).sum())
    if n1 == 0 or n0 == 0:
        return None
    ranks = np.empty(len(labels))
    ranks[np.argsort(scores, kind="stable")] = np.arange(1, len(labels) + 1)
    return float((ranks[labels == 1].sum() - n1 * (n1 + 1) / 2) / (n1 * n0))
""",
    ),
    Mutant(
        name="accuracy at one half",
        question="Q3",
        source="""
def auc(labels, scores):
    if len(set(labels)) < 2:
        return None
    return float(np.mean((np.asarray(scores) > 0.5) == np.asarray(labels)))
""",
    ),
    Mutant(
        name="one half for a single label",
        question="Q3",
        source="""
def auc(labels, scores):
    ones = [s for l, s in zip(labels, scores) if l == 1]
    zeros = [s for l, s in zip(labels, scores) if l == 0]
    if not zeros or not ones:
        return 0.5
    return sum((a > b) + 0.5 * (a == b) for a in ones for b in zeros) / (len(ones) * len(zeros))
""",
    ),
    Mutant(
        name="returns 1 / T",
        question="Q4",
        source=_TEMPERATURE.format(grid=_FINE, answer="float(1 / min(grid, key=nll))"),
    ),
    Mutant(
        name="coarse grid",
        question="Q4",
        source=_TEMPERATURE.format(
            grid="np.linspace(0.05, 20, 200)", answer="float(min(grid, key=nll))"
        ),
    ),
    Mutant(
        name="multiplies by T",
        question="Q4",
        source=_TEMPERATURE.replace("Z / T", "Z * T").format(
            grid=_FINE, answer="float(min(grid, key=nll))"
        ),
    ),
    Mutant(
        name="looks above 1 only",
        question="Q4",
        source=_TEMPERATURE.format(
            grid="np.exp(np.linspace(0, np.log(20), 5001))", answer="float(min(grid, key=nll))"
        ),
    ),
    Mutant(
        name="not calibrated at all",
        question="Q4",
        source="""
def fit_temperature(logits, labels):
    return 1.0
""",
    ),
)
