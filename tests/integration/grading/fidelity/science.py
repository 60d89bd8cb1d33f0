"""Assignments as a course in data science sets them: numpy, pandas, matplotlib, scikit-learn."""

# Programs stand here as literals, a line of theirs a line of ours where it fits.
# ruff: noqa: E501, ISC004

from tests.factories.notebooks import checked, manual, notebook, plain, read_only, solution
from tests.integration.grading.fidelity import changes
from tests.integration.grading.fidelity.parts import Assignment

ARRAYS = Assignment(
    name="arrays",
    notebooks={
        "arrays": notebook(
            read_only("intro", "# Numpy and pandas", "markdown"),
            read_only(
                "imports",
                "import numpy as np\nimport pandas as pd\nfrom numpy.testing import assert_allclose",
            ),
            solution(
                "zscore",
                "def zscore(x):\n    ### BEGIN SOLUTION\n    x = np.asarray(x, dtype=float)\n"
                "    return (x - x.mean(axis=0)) / x.std(axis=0)\n    ### END SOLUTION",
            ),
            plain("zscore(np.arange(12.).reshape(6, 2))"),
            checked(
                "t_zscore",
                2,
                "z = zscore(np.arange(12.).reshape(6, 2))\nassert z.shape == (6, 2)\n"
                "assert_allclose(z.mean(axis=0), 0, atol=1e-12)\n"
                "### BEGIN HIDDEN TESTS\n"
                "r = np.random.default_rng(0).normal(3, 7, size=(200, 5))\n"
                "assert_allclose(zscore(r), (r - r.mean(0)) / r.std(0))\n### END HIDDEN TESTS",
            ),
            checked("t_constant", 1, "c = zscore(np.ones((3, 2)))\nassert np.isfinite(c).all()"),
            read_only(
                "data",
                "rng = np.random.default_rng(42)\n"
                'df = pd.DataFrame({"g": rng.choice(list("abcd"), 200), '
                '"x": rng.normal(size=200), "y": rng.integers(0, 100, 200)})\ndf.head()',
            ),
            solution(
                "gmean",
                "def group_mean(df, key, col):\n    ### BEGIN SOLUTION\n"
                "    return df.groupby(key)[col].mean()\n    ### END SOLUTION",
            ),
            checked(
                "t_gmean",
                2,
                'm = group_mean(df, "g", "y")\nassert list(m.index) == list("abcd")\n'
                "### BEGIN HIDDEN TESTS\n"
                'assert_allclose(m.loc["a"], df[df.g == "a"].y.mean())\n### END HIDDEN TESTS',
            ),
            solution(
                "fit",
                "def fit_line(x, y):\n    ### BEGIN SOLUTION\n"
                "    return tuple(np.polyfit(x, y, 1))\n    ### END SOLUTION",
            ),
            checked(
                "t_partial",
                4,
                "score = 0\nfor n in (2, 5, 10, 50):\n    try:\n"
                "        q = zscore(np.vander(np.arange(1., n + 2), 3))\n"
                "        score += 0.5 * (q.shape == (n + 1, 3))\n    except Exception:\n"
                "        pass\n    try:\n"
                "        score += 0.5 * bool(np.isclose(\n"
                "            fit_line(np.arange(n), np.arange(n) * 2.)[0], 2))\n"
                "    except Exception:\n        pass\nscore",
            ),
            manual("explain", 2, "Explain what a z-score is."),
            plain("df.describe()"),
        )
    },
    answers={
        "zscore": [
            "def zscore(x):\n    x = np.asarray(x, dtype=float)\n"
            "    return (x - x.mean(axis=0)) / x.std(axis=0)",
            "def zscore(x):\n    print('hello')\n    x = np.array(x)\n"
            "    return (x - x.mean(0)) / np.sqrt(((x - x.mean(0)) ** 2).mean(0))",
            "def zscore(x):\n    s = x.std(axis=0)\n    s = np.where(s == 0, 1, s)\n"
            "    return (x - x.mean(axis=0)) / s",
            "def zscore(x):\n    return (x - x.mean()) / x.std()",
            "def zscore(x):\n    x = np.asarray(x)\n    return (x - x.mean(0)) / x.std(0, ddof=1)",
            "def zscore(x):\n    import warnings\n    warnings.warn('odd')\n"
            "    return (x - x.mean(0)) / x.std(0)",
            "def zscore(x):\n    import sys\n    print('dbg', file=sys.stderr)\n"
            "    return (x - x.mean(0)) / x.std(0)",
            "np.seterr(all='raise')\ndef zscore(x):\n    return (x - x.mean(0)) / x.std(0)",
            "np.seterr(all='ignore')\ndef zscore(x):\n    return (x - x.mean(0)) / x.std(0)",
            "def zscore(x):\n    return x.tolist()",
            "def zscore(x):\n    x -= x.mean(0)\n    x /= x.std(0)\n    return x",
            None,
        ],
        "gmean": [
            "def group_mean(df, key, col):\n    return df.groupby(key)[col].mean()",
            "def group_mean(df, key, col):\n"
            "    return pd.Series({k: df[df[key] == k][col].mean() for k in sorted(set(df[key]))})",
            "def group_mean(df, key, col):\n    return df.groupby(key)[col].median()",
            "def group_mean(df, key, col):\n    return df[col].foo()",
            "def group_mean(df, key, col):\n    df.drop(columns=col, inplace=True)",
            "def group_mean(df, key, col):\n    display(df.head())\n"
            "    return df.groupby(key)[col].mean()",
            "def group_mean(df, key, col):\n    s = df[df[key] == 'a']\n    s[col] = 0\n"
            "    return df.groupby(key)[col].mean()",
            None,
        ],
        "fit": [
            "def fit_line(x, y):\n    return tuple(np.polyfit(x, y, 1))",
            "def fit_line(x, y):\n    return (y[-1] - y[0]) / (x[-1] - x[0]), y[0]",
            "import matplotlib_nope\ndef fit_line(x, y):\n    return 0, 0",
            "def fit_line(x, y):\n    return np.polyfit(x, y, 9)",
            None,
        ],
        "explain": [None, "Distance in standard deviations."],
    },
    changes=changes.ANY | {"4.4": changes.as_4_4, "3": changes.as_3},
    count=60,
)

PLOTS = Assignment(
    name="plots",
    notebooks={
        "plots": notebook(
            read_only(
                "imports", "import matplotlib.pyplot as plt\nimport numpy as np\nx = np.arange(5)"
            ),
            read_only("warm", "plt.figure()\nplt.close('all')"),
            solution(
                "draw",
                "def draw(x):\n    ### BEGIN SOLUTION\n    fig, ax = plt.subplots()\n"
                "    ax.plot(x, x ** 2, label='square')\n    ax.set_title('Squares')\n"
                "    return ax\n    ### END SOLUTION",
            ),
            checked("t_title", 2, "ax = draw(x)\nassert ax.get_title() == 'Squares'"),
            checked(
                "t_line",
                2,
                "line = draw(x).get_lines()[0]\n"
                "assert np.allclose(line.get_ydata(), x ** 2)\nplt.close('all')",
            ),
            checked("t_count", 3, "plt.close('all')\ndraw(x)\nlen(plt.get_fignums())"),
            checked("t_shown", 1, "draw(x)\nplt.show()"),
            plain("plt.plot(x)\nplt.title('제목')\nplt.show()"),
        )
    },
    answers={
        "draw": [
            "def draw(x):\n    fig, ax = plt.subplots()\n    ax.plot(x, x ** 2)\n"
            "    ax.set_title('Squares')\n    return ax",
            "def draw(x):\n    plt.plot(x, x ** 2)\n    plt.title('Squares')\n    return plt.gca()",
            "def draw(x):\n    plt.plot(x, x ** 2)\n    plt.title('Squares')\n    plt.show()\n"
            "    return plt.gca()",
            "def draw(x):\n    fig, ax = plt.subplots(2)\n    ax[0].plot(x, x ** 2)\n"
            "    ax[0].set_title('Squares')\n    return ax[0]",
            "def draw(x):\n    ax = plt.figure().add_subplot()\n    ax.plot(x)\n    return ax",
            "def draw(x):\n    return None",
            "def draw(x):\n    fig, ax = plt.subplots()\n    ax.legend()\n"
            "    ax.plot(x, x ** 2)\n    ax.set_title('Squares')\n    return ax",
            "def draw(x):\n    fig, ax = plt.subplots()\n    ax.plot(x, x ** 2)\n"
            "    ax.set_title('Squares')\n    ax.set_ylabel(r'$\\frac$')\n    return ax",
            "def draw(x):\n    fig, ax = plt.subplots()\n    ax.plot(x, x ** 2)\n"
            "    ax.set_title('Squares')\n    ax.set_xlim(1, 1)\n    return ax",
            "%matplotlib inline\n%config InlineBackend.figure_format = 'svg'\ndef draw(x):\n"
            "    plt.plot(x, x ** 2)\n    plt.title('Squares')\n    return plt.gca()",
            "plt.switch_backend('agg')\ndef draw(x):\n    plt.plot(x, x ** 2)\n"
            "    plt.title('Squares')\n    return plt.gca()",
            "def draw(x):\n    plt.savefig('picture.png')\n    plt.plot(x, x ** 2)\n"
            "    plt.title('Squares')\n    return plt.gca()",
            "plt.style.use('ggplot')\ndef draw(x):\n    ax = plt.axes()\n    ax.plot(x, x * x)\n"
            "    ax.set_title('Squares')\n    return ax",
            "plt.ioff()\ndef draw(x):\n    ax = plt.axes()\n    ax.plot(x, x * x)\n"
            "    ax.set_title('Squares')\n    return ax",
            None,
        ],
    },
    changes={name: changes.ANY[name] for name in ("notes", "failing cell", "tidied", "metadata")},
    count=40,
)

LEARN = Assignment(
    name="learn",
    notebooks={
        "learn": notebook(
            read_only(
                "imports",
                "import numpy as np\nfrom sklearn.datasets import make_classification\n"
                "from sklearn.linear_model import LogisticRegression\n"
                "from sklearn.model_selection import train_test_split\n"
                "from sklearn.metrics import accuracy_score",
            ),
            read_only(
                "data",
                "X, y = make_classification(n_samples=200, n_features=8, random_state=3)\n"
                "Xtr, Xte, ytr, yte = train_test_split(X, y, random_state=0)\nXtr.shape",
            ),
            solution(
                "fit",
                "def fit(Xtr, ytr):\n    ### BEGIN SOLUTION\n"
                "    return LogisticRegression(max_iter=500).fit(Xtr, ytr)\n    ### END SOLUTION",
            ),
            plain("model = fit(Xtr, ytr)\nmodel"),
            checked(
                "t_fit",
                3,
                "acc = accuracy_score(yte, model.predict(Xte))\nassert acc > 0.7, acc\n"
                "### BEGIN HIDDEN TESTS\nassert model.score(Xtr, ytr) > 0.75\n### END HIDDEN TESTS",
            ),
            checked("t_accuracy", 2, "round(2 * model.score(Xte, yte), 3)"),
            solution(
                "acc",
                "def my_accuracy(t, p):\n    ### BEGIN SOLUTION\n"
                "    return float(np.mean(np.asarray(t) == np.asarray(p)))\n    ### END SOLUTION",
            ),
            checked(
                "t_acc",
                2,
                "assert my_accuracy([1, 0], [1, 1]) == 0.5\n### BEGIN HIDDEN TESTS\n"
                "p = model.predict(Xte)\n"
                "assert abs(my_accuracy(yte, p) - accuracy_score(yte, p)) < 1e-12\n"
                "### END HIDDEN TESTS",
            ),
        )
    },
    answers={
        "fit": [
            "def fit(Xtr, ytr):\n    return LogisticRegression(max_iter=500).fit(Xtr, ytr)",
            "from sklearn.ensemble import RandomForestClassifier\ndef fit(Xtr, ytr):\n"
            "    return RandomForestClassifier(10, random_state=0).fit(Xtr, ytr)",
            "def fit(Xtr, ytr):\n    return LogisticRegression(max_iter=2).fit(Xtr, ytr)",
            "from sklearn.dummy import DummyClassifier\ndef fit(Xtr, ytr):\n"
            "    return DummyClassifier().fit(Xtr, ytr)",
            "def fit(Xtr, ytr):\n    return LogisticRegression()",
            "from sklearn.tree import DecisionTreeClassifier as T\ndef fit(Xtr, ytr):\n"
            "    return T(random_state=np.random.randint(1, 2)).fit(Xtr, ytr)",
            "def fit(Xtr, ytr):\n    return LogisticRegression(penalty='nope').fit(Xtr, ytr)",
            None,
        ],
        "acc": [
            "def my_accuracy(t, p):\n    return float(np.mean(np.asarray(t) == np.asarray(p)))",
            "def my_accuracy(t, p):\n    return sum(a == b for a, b in zip(t, p)) / len(t)",
            "def my_accuracy(t, p):\n    return 0.5",
            "def my_accuracy(t, p):\n    return t == p",
            None,
        ],
    },
    changes={name: changes.ANY[name] for name in ("notes", "failing cell", "tidied", "outputs")},
    count=40,
)

ASSIGNMENTS = (ARRAYS, PLOTS, LEARN)
