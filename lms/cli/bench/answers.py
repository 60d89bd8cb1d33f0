"""What students answer in the benchmark's course: by assignment and cell; the first is right."""

#: None leaves the cell as it was released.
ANSWERS: dict[str, dict[str, list[str | None]]] = {
    "np1": {
        "standardise": [
            (
                "def standardise(x):\n    x = np.asarray(x, dtype=float)\n"
                "    return (x - x.mean(axis=0)) / x.std(axis=0)"
            ),
            (
                'def standardise(x):\n    print("hello")\n    x = np.array(x)\n    m = x.mean(0)\n'
                "    return (x - m) / np.sqrt(((x - m) ** 2).mean(0))"
            ),
            "def standardise(x):\n    return (x - x.mean()) / x.std()",
            (
                "def standardise(x):\n    x = np.asarray(x)\n"
                "    return (x - x.mean(0)) / x.std(0, ddof=1)"
            ),
            None,
            (
                "import warnings\n\ndef standardise(x):\n    warnings.warn('odd')\n"
                "    return (x - x.mean(0)) / x.std(0)"
            ),
            (
                "import sys\n\ndef standardise(x):\n    print('looking', file=sys.stderr)\n"
                "    return (x - x.mean(0)) / x.std(0)"
            ),
        ],
        "group_means": [
            "def group_means(table, key, column):\n    return table.groupby(key)[column].mean()",
            (
                "def group_means(table, key, column):\n    return pd.Series(\n"
                "        {k: table[table[key] == k][column].mean() for k in 'abcd'}"
                "\n    )"
            ),
            "def group_means(table, key, column):\n    return table.groupby(key)[column].median()",
            "def group_means(table, key, column):\n    return table[column].average()",
            None,
        ],
        "line": [
            "def line(x, y):\n    return tuple(np.polyfit(x, y, 1))",
            (
                "def line(x, y):\n    A = np.c_[x, np.ones(len(x))]\n"
                "    return tuple(np.linalg.lstsq(A, y, rcond=None)[0])"
            ),
            "def line(x, y):\n    return (y[-1] - y[0]) / (x[-1] - x[0]), y[0]",
            "import nonsense_package\n\ndef line(x, y):\n    return 0, 0",
            None,
        ],
        "explain": ["It counts in standard deviations from the mean.", None],
    },
    "ml1": {
        "predict": [
            (
                "def predict(X_train, y_train, X_test):\n"
                "    return LogisticRegression(max_iter=500).fit(X_train, y_train).predict(X_test)"
            ),
            (
                "from sklearn.ensemble import RandomForestClassifier\n\n"
                "def predict(X_train, y_train, X_test):\n"
                "    forest = RandomForestClassifier(20, random_state=0)\n"
                "    return forest.fit(X_train, y_train).predict(X_test)"
            ),
            (
                "def predict(X_train, y_train, X_test):\n"
                "    return LogisticRegression(max_iter=2).fit(X_train, y_train).predict(X_test)"
            ),
            "def predict(X_train, y_train, X_test):\n    return np.zeros(len(X_test))",
            "def predict(X_train, y_train, X_test):\n    return X_test.argmax(",
            None,
        ],
        "accuracy": [
            (
                "def accuracy(truth, predicted):\n"
                "    return float(np.mean(np.asarray(truth) == np.asarray(predicted)))"
            ),
            (
                "def accuracy(truth, predicted):\n"
                "    return sum(a == b for a, b in zip(truth, predicted)) / len(truth)"
            ),
            "def accuracy(truth, predicted):\n    return 0.5",
            None,
        ],
        "overfit": ["A model may remember what it has seen.", "To look good.", None],
    },
    "ps1": {
        "squares": [
            (
                "def squares(n):\n    if n < 1:\n        raise ValueError('n')\n"
                "    return [i ** 2 for i in range(1, n + 1)]"
            ),
            (
                "def squares(n):\n    if n < 1:\n        raise ValueError\n    found = []\n"
                "    for i in range(n):\n        found.append((i + 1) * (i + 1))\n"
                "    print(len(found))\n    return found"
            ),
            "def squares(n):\n    return [i ** 2 for i in range(n)]",
            "def squares(n):\n    return list(map(lambda i: i * i, range(1, n + 1)))",
            "def squares(n):\n    return [i ** 2 for i in range(1, n + 1)",
            None,
        ],
        "total": [
            "def total(n):\n    return sum(squares(n))",
            "def total(n):\n    return n * (n + 1) * (2 * n + 1) // 6",
            None,
        ],
        "words": ["The argument gets smaller.", "It does not.", None],
    },
}
