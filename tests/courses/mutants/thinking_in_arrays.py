"""Wrong answers to python-for-ai's second assignment."""

from tests.courses.mutants.base import Mutant

MUTANTS = (
    Mutant(
        name="wrong axis",
        question="Q1",
        source="""
def standardize(X):
    X = np.asarray(X, dtype=float)
    sd = X.std(axis=1, keepdims=True)
    return (X - X.mean(axis=1, keepdims=True)) / np.where(sd == 0, 1, sd)
""",
    ),
    Mutant(
        name="in place",
        question="Q1",
        source="""
def standardize(X):
    constant = (X == X[0]).all(axis=0)
    if X.dtype.kind != "f":
        X = X.astype(float)
    X -= np.where(constant, X[0], X.mean(axis=0))
    X /= np.where(constant, 1, X.std(axis=0))
    return X
""",
    ),
    Mutant(
        name="divides by n - 1",
        question="Q1",
        source="""
def standardize(X):
    X = np.asarray(X, dtype=float)
    constant = (X == X[0]).all(axis=0)
    sd = X.std(axis=0, ddof=1) if len(X) > 1 else np.ones(X.shape[1])
    return np.where(constant, 0, X - X.mean(axis=0)) / np.where(constant, 1, sd)
""",
    ),
    Mutant(
        name="a small number in the denominator",
        question="Q1",
        source="""
def standardize(X):
    X = np.asarray(X, dtype=float)
    return (X - X.mean(axis=0)) / (X.std(axis=0) + 1e-8)
""",
    ),
    Mutant(
        name="constant column recognised by a computed zero",
        question="Q1",
        source="""
def standardize(X):
    X = np.asarray(X, dtype=float)
    sd = X.std(axis=0)
    return (X - X.mean(axis=0)) / np.where(sd == 0, 1, sd)
""",
    ),
    Mutant(
        name="squared distance",
        question="Q2",
        source="""
def pairwise(X, Y):
    return ((X[:, None, :] - Y[None, :, :]) ** 2).sum(axis=2) * 1.0
""",
    ),
    Mutant(
        name="expanded square",
        question="Q2",
        source="""
def pairwise(X, Y):
    squares = (X**2).sum(axis=1)[:, None] + (Y**2).sum(axis=1)[None, :] - 2 * X @ Y.T
    return np.sqrt(squares)
""",
    ),
    Mutant(
        name="expanded square, clipped at zero",
        question="Q2",
        source="""
def pairwise(X, Y):
    squares = (X**2).sum(axis=1)[:, None] + (Y**2).sum(axis=1)[None, :] - 2 * X @ Y.T
    return np.sqrt(np.maximum(squares, 0))
""",
    ),
    Mutant(
        name="transposed",
        question="Q2",
        source="""
def pairwise(X, Y):
    return np.sqrt(((Y[:, None, :] - X[None, :, :]) ** 2).sum(axis=2))
""",
    ),
    Mutant(
        name="sum of absolute differences",
        question="Q2",
        source="""
def pairwise(X, Y):
    return np.abs(X[:, None, :] - Y[None, :, :]).sum(axis=2) * 1.0
""",
    ),
    Mutant(
        name="same length, padded with zeros",
        question="Q3",
        source="""
def moving_mean(x, w):
    return np.convolve(x, np.ones(w) / w, mode="same")
""",
    ),
    Mutant(
        name="one window too few",
        question="Q3",
        source="""
def moving_mean(x, w):
    return np.array([np.mean(x[i:i + w]) for i in range(len(x) - w)])
""",
    ),
    Mutant(
        name="running sum without its leading zero",
        question="Q3",
        source="""
def moving_mean(x, w):
    sums = np.cumsum(np.asarray(x, dtype=float))
    means = np.zeros(len(x) - w + 1)
    means[1:] = (sums[w:] - sums[:-w]) / w
    means[0] = sums[w - 1] / (w + 1)
    return means
""",
    ),
    Mutant(
        name="whole numbers stay whole",
        question="Q3",
        source="""
def moving_mean(x, w):
    return np.array([sum(x[i:i + w]) / w for i in range(len(x) - w + 1)]).astype(x.dtype)
""",
    ),
    Mutant(
        name="rounded",
        question="Q3",
        source="""
def moving_mean(x, w):
    return np.array([round(float(np.mean(x[i:i + w])), 4) for i in range(len(x) - w + 1)])
""",
    ),
    Mutant(
        name="no wrapping",
        question="Q4",
        source="""
def life_step(board):
    padded = np.pad(board, 1)
    rows, columns = board.shape
    near = sum(padded[a:a + rows, b:b + columns] for a in range(3) for b in range(3)) - board
    return ((near == 3) | ((board == 1) & (near == 2))).astype(int)
""",
    ),
    Mutant(
        name="counts the cell itself",
        question="Q4",
        source="""
def life_step(board):
    near = sum(np.roll(board, (a, b), axis=(0, 1)) for a in (-1, 0, 1) for b in (-1, 0, 1))
    return ((near == 3) | ((board == 1) & (near == 2))).astype(int)
""",
    ),
    Mutant(
        name="born with six neighbours too",
        question="Q4",
        source="""
def life_step(board):
    near = sum(np.roll(board, (a, b), axis=(0, 1)) for a in (-1, 0, 1) for b in (-1, 0, 1)) - board
    return ((near == 3) | ((board == 1) & (near == 2)) | ((board == 0) & (near == 6))).astype(int)
""",
    ),
    Mutant(
        name="wraps in one direction only",
        question="Q4",
        source="""
def life_step(board):
    padded = np.pad(board, ((0, 0), (1, 1)))
    columns = board.shape[1]
    sides = sum(padded[:, b:b + columns] for b in range(3))
    near = sum(np.roll(sides, a, axis=0) for a in (-1, 0, 1)) - board
    return ((near == 3) | ((board == 1) & (near == 2))).astype(int)
""",
    ),
    Mutant(
        name="changes the board while counting",
        question="Q4",
        source="""
def life_step(board):
    rows, columns = board.shape
    for i in range(rows):
        for j in range(columns):
            near = -board[i, j]
            for a in (-1, 0, 1):
                for b in (-1, 0, 1):
                    near += board[(i + a) % rows, (j + b) % columns]
            board[i, j] = 1 if near == 3 or (near == 2 and board[i, j]) else 0
    return board
""",
    ),
)
