"""What a person reads about the Slurm job of a notebook server, in Korean and in English."""

from lms.outposts.kernels.slurm_said import Words, missing

_FULL = (
    "지금 클러스터에 빈자리가 없어요. 자리가 나면 바로 시작해요",
    "The cluster has no free place now; your server starts when there is one",
)
_QUOTA = (
    "내가 쓸 수 있는 만큼을 이미 쓰고 있어요. 다른 작업이 끝나면 시작해요",
    "You use all that you may already; your server starts when another job of yours ends",
)
_AHEAD = (
    "먼저 기다린 사람이 있어요. 차례가 되면 시작해요",
    "Others have waited longer; your server starts when it is its turn",
)
_DOWN = (
    "클러스터의 노드가 쉬고 있어요. 돌아오면 시작해요",
    "The nodes of the cluster are down or reserved; your server starts when they are back",
)
_WAITING: dict[str, Words] = {
    "Resources": _FULL,
    "Priority": _AHEAD,
    "ReqNodeNotAvail": _DOWN,
    "PartitionDown": _DOWN,
    "Reservation": _DOWN,
}
_ENDED: dict[str, Words] = {
    "TIMEOUT": (
        "노트북 서버가 쓸 수 있는 시간이 끝났어요.",
        "The time of your notebook server is over.",
    ),
    "NODE_FAIL": (
        "노트북 서버가 돌던 노드가 꺼졌어요.",
        "The node that your notebook server ran on was lost.",
    ),
    "OUT_OF_MEMORY": (
        "노트북 서버가 메모리를 다 써서 끝났어요.",
        "Your notebook server used more memory than its job has.",
    ),
}
#: How each end is called in the spawner's `ended`, for the page that the person meets.
ENDS = {"TIMEOUT": "timeout", "NODE_FAIL": "node", "OUT_OF_MEMORY": "memory", "COMPLETED": ""}


def waiting(reason: str) -> Words:
    """Return why a job waits; `reason` is Slurm's own word."""
    if reason.startswith(("QOSMax", "AssocMax", "QOSGrp", "AssocGrp")):
        korean, english = _QUOTA
        return f"{korean} ({reason}).", f"{english} ({reason})."
    word = reason.partition(",")[0].strip("() ")
    if word in _WAITING:
        korean, english = _WAITING[word]
        return f"{korean} ({word}).", f"{english} ({word})."
    if word in {"", "None"}:
        return "클러스터의 줄에 섰어요.", "Your server stands in the cluster's queue."
    return f"클러스터의 줄에서 기다려요 ({word}).", f"Your server waits in the queue ({word})."


def ended(state: str) -> Words:
    """Return how a job ended that should be running."""
    return _ENDED.get(
        state,
        (
            f"노트북 서버의 작업이 끝났어요 ({state}).",
            f"The job of your notebook server ended ({state}).",
        ),
    )


def refused(why: str) -> Words:
    """Return that Slurm did not take the job; `why` is what sbatch said."""
    if (words := missing(why)) is not None:
        return words
    if "Max" in why or "limit" in why.lower():
        return (
            f"줄이 가득 찼거나 내 몫을 넘었어요 ({why}). 다른 작업이 끝난 뒤에 다시 열어 주세요.",
            f"The cluster's queue is full or your share is used up ({why}). Try again later.",
        )
    return (
        f"클러스터가 노트북 서버를 받지 않았어요 ({why}).",
        f"The cluster did not take your notebook server ({why}).",
    )
