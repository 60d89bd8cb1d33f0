"""Wrong answers to ml-from-scratch's first assignment."""

from tests.courses.mutants.base import Mutant

_LASSO = """
def lasso(X, y, lam):
    n, p = X.shape
    mean_x, mean_y = X.mean(axis=0), y.mean()
    Xc = np.where((X == X[0]).all(axis=0), 0.0, X - mean_x)
    squares = (Xc**2).mean(axis=0)
    w = np.zeros(p)
    for _ in range({sweeps}):
        for j in np.flatnonzero(squares):
            r = y - mean_y - Xc @ w + Xc[:, j] * w[j]
            a = Xc[:, j] @ r / n
            w[j] = {update} / squares[j]
    return w, float(mean_y - mean_x @ w)
"""
_SOFT = "np.sign(a) * max(abs(a) - lam, 0.0)"

_FIT = """
def fit(X, y):
    classes = {classes}
    labels = np.array([classes.index(name) for name in y])
    one_hot = np.eye(len(classes))[labels]
    W, b = np.zeros((X.shape[1], len(classes))), np.zeros(len(classes))
    for _ in range({steps}):
        Z = X @ W + b
        P = np.exp(Z - Z.max(axis=1, keepdims=True))
        error = (P / P.sum(axis=1, keepdims=True) - one_hot) / len(y)
        W = W - {rate} * (X.T @ error)
        b = b - {rate} * error.sum(axis=0)
    return {result}
"""

MUTANTS = (
    Mutant(
        name="intercept penalised",
        question="Q1",
        source="""
def ridge(X, y, lam):
    n, p = X.shape
    A = np.column_stack([X, np.ones(n)])
    w = np.linalg.solve(A.T @ A / n + (lam + 1e-12) * np.eye(p + 1), A.T @ y / n)
    return w[:-1], float(w[-1])
""",
    ),
    Mutant(
        name="lambda not multiplied by n",
        question="Q1",
        source="""
def ridge(X, y, lam):
    Xc, yc = X - X.mean(axis=0), y - y.mean()
    w = np.linalg.solve(Xc.T @ Xc + lam * np.eye(X.shape[1]), Xc.T @ yc)
    return w, float(y.mean() - X.mean(axis=0) @ w)
""",
    ),
    Mutant(
        name="no intercept",
        question="Q1",
        source="""
def ridge(X, y, lam):
    n, p = X.shape
    return np.linalg.solve(X.T @ X / n + lam * np.eye(p), X.T @ y / n), 0.0
""",
    ),
    Mutant(
        name="lambda counted twice",
        question="Q1",
        source="""
def ridge(X, y, lam):
    n, p = X.shape
    Xc, yc = X - X.mean(axis=0), y - y.mean()
    w = np.linalg.solve(Xc.T @ Xc / n + 2 * lam * np.eye(p), Xc.T @ yc / n)
    return w, float(y.mean() - X.mean(axis=0) @ w)
""",
    ),
    Mutant(
        name="only y centred",
        question="Q1",
        source="""
def ridge(X, y, lam):
    n, p = X.shape
    w = np.linalg.solve(X.T @ X / n + lam * np.eye(p), X.T @ (y - y.mean()) / n)
    return w, float(y.mean())
""",
    ),
    Mutant(
        name="too few sweeps",
        question="Q2",
        source=_LASSO.format(sweeps=5, update=_SOFT),
    ),
    Mutant(
        name="lambda halved",
        question="Q2",
        source=_LASSO.format(sweeps=500, update="np.sign(a) * max(abs(a) - lam / 2, 0.0)"),
    ),
    Mutant(
        name="hard threshold",
        question="Q2",
        source=_LASSO.format(sweeps=500, update="(a if abs(a) > lam else 0.0)"),
    ),
    Mutant(
        name="lambda times n",
        question="Q2",
        source=_LASSO.format(sweeps=500, update="np.sign(a) * max(abs(a) - lam * n, 0.0)"),
    ),
    Mutant(
        name="sign lost",
        question="Q2",
        source=_LASSO.format(sweeps=500, update="max(abs(a) - lam, 0.0)"),
    ),
    Mutant(
        name="overflow",
        question="Q3",
        source="""
def softmax_loss(W, b, X, labels):
    P = np.exp(X @ W + b)
    P = P / P.sum(axis=1, keepdims=True)
    rows, n = np.arange(len(labels)), len(labels)
    loss = -np.log(P[rows, labels]).mean()
    P[rows, labels] -= 1
    return loss, X.T @ P / n, P.mean(axis=0)
""",
    ),
    Mutant(
        name="a small number inside the logarithm",
        question="Q3",
        source="""
def softmax_loss(W, b, X, labels):
    Z = X @ W + b
    P = np.exp(Z - Z.max(axis=1, keepdims=True))
    P = P / P.sum(axis=1, keepdims=True)
    rows, n = np.arange(len(labels)), len(labels)
    loss = -np.log(P[rows, labels] + 1e-12).mean()
    P[rows, labels] -= 1
    return loss, X.T @ P / n, P.mean(axis=0)
""",
    ),
    Mutant(
        name="sum instead of mean",
        question="Q3",
        source="""
def softmax_loss(W, b, X, labels):
    Z = X @ W + b
    Z = Z - Z.max(axis=1, keepdims=True)
    log_p = Z - np.log(np.exp(Z).sum(axis=1, keepdims=True))
    rows = np.arange(len(labels))
    error = np.exp(log_p)
    error[rows, labels] -= 1
    return -log_p[rows, labels].sum(), X.T @ error, error.sum(axis=0)
""",
    ),
    Mutant(
        name="gradient with the wrong sign",
        question="Q3",
        source="""
def softmax_loss(W, b, X, labels):
    Z = X @ W + b
    Z = Z - Z.max(axis=1, keepdims=True)
    log_p = Z - np.log(np.exp(Z).sum(axis=1, keepdims=True))
    rows, n = np.arange(len(labels)), len(labels)
    error = np.exp(log_p)
    error[rows, labels] -= 1
    return -log_p[rows, labels].mean(), -X.T @ error / n, -error.mean(axis=0)
""",
    ),
    Mutant(
        name="gradient forgets the right label",
        question="Q3",
        source="""
def softmax_loss(W, b, X, labels):
    Z = X @ W + b
    Z = Z - Z.max(axis=1, keepdims=True)
    log_p = Z - np.log(np.exp(Z).sum(axis=1, keepdims=True))
    rows, n = np.arange(len(labels)), len(labels)
    error = np.exp(log_p)
    return -log_p[rows, labels].mean(), X.T @ error / n, error.mean(axis=0)
""",
    ),
    Mutant(
        name="columns in the order of appearance",
        question="Q4",
        source=_FIT.format(
            classes="list(dict.fromkeys(y))", steps=300, rate=0.5, result="sorted(classes), W, b"
        ),
    ),
    Mutant(
        name="stops much too early",
        question="Q4",
        source=_FIT.format(classes="sorted(set(y))", steps=4, rate=0.5, result="classes, W, b"),
    ),
    Mutant(
        name="climbs instead of descending",
        question="Q4",
        source=_FIT.format(classes="sorted(set(y))", steps=60, rate=-0.5, result="classes, W, b"),
    ),
    Mutant(
        name="weights transposed",
        question="Q4",
        source=_FIT.format(classes="sorted(set(y))", steps=300, rate=0.5, result="classes, W.T, b"),
    ),
    Mutant(
        name="remembers the drawings of the notebook",
        question="Q4",
        source="""
def fit(X, y):
    classes = sorted(set(y))
    drawings = ["".join(LETTERS[name]) for name in sorted(LETTERS)]
    M = np.array([[mark == "#" for mark in drawing] for drawing in drawings], dtype=float)
    return classes, M.T, -0.5 * (M**2).sum(axis=1)
""",
    ),
)
