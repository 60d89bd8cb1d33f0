"""What Slurm's words mean, in Korean and in English: why a kernel waits, is refused, has ended.

No catalogue is where kernels run, and nobody there knows a reader's language: `both` says both.
"""

Words = tuple[str, str]

_ASK = (
    "다른 프로필로 시작하거나 운영자에게 알려 주세요.",
    "Take another profile, or tell the operator.",
)
#: Parts of Slurm's own words, lower case, and what is missing by them.
_MISSING: tuple[tuple[str, Words], ...] = (
    # Before "partition": Slurm names both when the account is wrong.
    (
        "invalid account",
        (
            "이 프로필이 쓰는 계정이 클러스터에 없어요.",
            "The cluster has no account of the name that this profile asks for.",
        ),
    ),
    (
        "partition",
        (
            "이 프로필이 쓰는 파티션이 클러스터에 없어요.",
            "The cluster has no partition of the name that this profile asks for.",
        ),
    ),
    (
        "generic resource",
        (
            "이 프로필이 쓰는 GPU가 클러스터에 없어요.",
            "The cluster has no GPU of the kind that this profile asks for.",
        ),
    ),
    (
        "node configuration is not available",
        (
            "이 프로필만큼 GPU나 메모리를 가진 노드가 클러스터에 없어요.",
            "No node of the cluster has as many GPUs or as much memory as this profile asks for.",
        ),
    ),
    (
        "invalid qos",
        (
            "이 프로필이 쓰는 QOS가 클러스터에 없거나 내 계정에 열려 있지 않아요.",
            "The QOS that this profile asks for is not in the cluster, or not open to you.",
        ),
    ),
)


def missing(said: str) -> Words | None:
    """Return what the cluster does not have by its own words; None when that is not why."""
    for part, (korean, english) in _MISSING:
        if part in said.lower():
            return f"{korean} {_ASK[0]}", f"{english} {_ASK[1]}"
    return None


_ENDED: dict[str, Words] = {
    "TIMEOUT": (
        "커널이 GPU를 쓸 시간이 끝났어요. 변수는 사라졌어요.",
        "This kernel's time on its GPU is over; its variables are gone.",
    ),
    "CANCELLED": (
        "클러스터가 이 커널의 작업을 끝냈어요. 변수는 사라졌어요.",
        "The cluster ended this kernel's job; its variables are gone.",
    ),
    "OUT_OF_MEMORY": (
        "커널이 작업에 주어진 메모리보다 많이 썼어요. 변수는 사라졌어요.",
        "This kernel used more memory than its job has; its variables are gone.",
    ),
}
_ENDED["PREEMPTED"] = _ENDED["CANCELLED"]


def ended(state: str, node: str) -> Words:
    """Return how the job of a kernel ended that should be running."""
    name = node or "?"
    lost = (
        f"커널이 돌던 노드({name})를 잃었어요. 새 커널을 켜요. 변수는 사라졌어요.",
        f"The node {name} of this kernel was lost; a new one starts, its variables are gone.",
    )
    return _ENDED.get(state, lost)


def waits(reason: str) -> Words:
    """Return that a kernel's job did not get its place in time; `reason` is Slurm's word."""
    korean = f"클러스터에 이 커널의 자리가 아직 없어요 ({reason})."
    english = f"The cluster has no place for this kernel yet ({reason});"
    return (
        f"{korean} 나중에 다시 켜거나 더 작은 프로필을 고르세요.",
        f"{english} try again later or take a smaller profile.",
    )


def both(words: Words) -> str:
    """Return the sentence in both languages, for where nobody knows the reader's."""
    return " ".join(words)
