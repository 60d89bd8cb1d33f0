"""Wrong answers to python-for-ai's first assignment."""

from tests.courses.mutants.base import Mutant

MUTANTS = (
    Mutant(
        name="lower instead of casefold",
        question="Q1",
        source="""
def normalise(text):
    return unicodedata.normalize("NFC", text).lower()
""",
    ),
    Mutant(
        name="no normal form",
        question="Q1",
        source="""
def normalise(text):
    return text.casefold()
""",
    ),
    Mutant(
        name="compatibility form",
        question="Q1",
        source="""
def normalise(text):
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
""",
    ),
    Mutant(
        name="folded after composing, so not composed",
        question="Q1",
        source="""
def normalise(text):
    return unicodedata.normalize("NFC", text).casefold()
""",
    ),
    Mutant(
        name="strips spaces",
        question="Q1",
        source="""
def normalise(text):
    folded = unicodedata.normalize("NFC", text).casefold()
    return " ".join(unicodedata.normalize("NFC", folded).split())
""",
    ),
    Mutant(
        name="split on one space",
        question="Q2",
        source="""
def count_words(text):
    words = text.split(" ")
    return {word: words.count(word) for word in words if word}
""",
    ),
    Mutant(
        name="only ASCII letters",
        question="Q2",
        source="""
def count_words(text):
    import re
    words = re.findall("[A-Za-z]+", text)
    return {word: words.count(word) for word in words}
""",
    ),
    Mutant(
        name="digits and underscore count as letters",
        question="Q2",
        source=r"""
def count_words(text):
    import re
    words = re.findall(r"\w+", text)
    return {word: words.count(word) for word in words}
""",
    ),
    Mutant(
        name="last word lost",
        question="Q2",
        source="""
def count_words(text):
    counts, word = {}, ""
    for character in text:
        if character.isalpha():
            word += character
        elif word:
            counts[word] = counts.get(word, 0) + 1
            word = ""
    return counts
""",
    ),
    Mutant(
        name="folds the case although told not to",
        question="Q2",
        source="""
def count_words(text):
    words = "".join(c if c.isalpha() else " " for c in text.lower()).split()
    return {word: words.count(word) for word in words}
""",
    ),
    Mutant(
        name="no modulo",
        question="Q3",
        source="""
def caesar(text, k):
    return "".join(chr(ord(c) + k) if c in string.ascii_letters else c for c in text)
""",
    ),
    Mutant(
        name="shifts digits too",
        question="Q3",
        source="""
def caesar(text, k):
    out = ""
    for c in text:
        for group in (string.ascii_lowercase, string.ascii_uppercase, string.digits):
            if c in group:
                c = group[(group.index(c) + k) % len(group)]
                break
        out += c
    return out
""",
    ),
    Mutant(
        name="every alphabetic character is taken for an English letter",
        question="Q3",
        source="""
def caesar(text, k):
    out = ""
    for c in text:
        if c.isalpha():
            start = ord("a") if c.islower() else ord("A")
            c = chr(start + (ord(c) - start + k) % 26)
        out += c
    return out
""",
    ),
    Mutant(
        name="wraps only once",
        question="Q3",
        source="""
def caesar(text, k):
    out = ""
    for c in text:
        for group in (string.ascii_lowercase, string.ascii_uppercase):
            if c in group:
                place = group.index(c) + k
                place = place - 26 if place >= 26 else place
                c = group[place] if -26 <= place < 26 else c
                break
        out += c
    return out
""",
    ),
    Mutant(
        name="loses upper case",
        question="Q3",
        source="""
def caesar(text, k):
    low = string.ascii_lowercase
    text = "".join(c.lower() if c in string.ascii_uppercase else c for c in text)
    return "".join(low[(low.index(c) + k) % 26] if c in low else c for c in text)
""",
    ),
    Mutant(
        name="the commonest letter is e",
        question="Q4",
        source="""
def crack(cipher):
    letters = [c for c in cipher.lower() if c in string.ascii_lowercase]
    if not letters:
        return 0
    commonest = max(string.ascii_lowercase, key=letters.count)
    return (ord(commonest) - ord("e")) % 26
""",
    ),
    Mutant(
        name="returns the shift back instead of the shift",
        question="Q4",
        source="""
def crack(cipher):
    letters = [ord(c) - 97 for c in cipher.lower() if c in string.ascii_lowercase]
    if not letters:
        return 0
    E = [len(letters) * ENGLISH[c] for c in string.ascii_lowercase]
    def chi(s):
        return sum((letters.count((n - s) % 26) - E[n]) ** 2 / E[n] for n in range(26))
    return min(range(26), key=chi)
""",
    ),
    Mutant(
        name="ignores capital letters",
        question="Q4",
        source="""
def crack(cipher):
    letters = [ord(c) - 97 for c in cipher if c in string.ascii_lowercase]
    if not letters:
        return 0
    E = [len(letters) * ENGLISH[c] for c in string.ascii_lowercase]
    def chi(s):
        return sum((letters.count((n + s) % 26) - E[n]) ** 2 / E[n] for n in range(26))
    return min(range(26), key=chi)
""",
    ),
    Mutant(
        name="takes the largest chi-square",
        question="Q4",
        source="""
def crack(cipher):
    letters = [ord(c) - 97 for c in cipher.lower() if c in string.ascii_lowercase]
    if not letters:
        return 0
    E = [len(letters) * ENGLISH[c] for c in string.ascii_lowercase]
    def chi(s):
        return sum((letters.count((n + s) % 26) - E[n]) ** 2 / E[n] for n in range(26))
    return max(range(26), key=chi)
""",
    ),
    Mutant(
        name="remembers the visible example",
        question="Q4",
        source="""
def crack(cipher):
    return 16 if any(c in string.ascii_letters for c in cipher) else 0
""",
    ),
)
