"""A browser's connection to a kernel in a notebook server, with the server's own notices in it."""

import contextlib
from typing import Any

from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection
from tornado.websocket import WebSocketClosedError

from lms.outposts.kernels.notices import Board, find_board


class NoticeConnection(ZMQChannelsWebsocketConnection):
    """Looks at when cells begin and end, of those kernels that there is something to say about."""

    def write_stderr(self, error_message: str, parent_header: dict[str, Any]) -> None:
        """Add text to what a cell prints; a browser that has just gone misses it."""
        with contextlib.suppress(WebSocketClosedError):
            super().write_stderr(error_message, parent_header)

    def _on_zmq_reply(self, stream: Any, msg_list: Any) -> None:  # noqa: ANN401 - jupyter_server's
        super()._on_zmq_reply(stream, msg_list)
        board = find_board(self.kernel_id)
        if board is not None and getattr(stream, "channel", None) == "iopub":
            self._follow(board, msg_list)

    def _follow(self, board: Board, message: Any) -> None:  # noqa: ANN401 - parts, or a message
        kind = self._part(message, "header").get("msg_type")
        if kind == "execute_input":
            board.begin(self._part(message, "parent_header"), self)
        elif kind == "status" and (self._part(message, "content").get("execution_state") == "idle"):
            board.end(self._part(message, "parent_header"))

    def _part(self, message: Any, name: str) -> dict[str, Any]:  # noqa: ANN401 - see _follow
        part = message.get(name) if isinstance(message, dict) else None
        part = self.get_part(name, part, message)
        return part if isinstance(part, dict) else {}
