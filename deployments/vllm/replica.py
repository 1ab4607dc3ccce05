"""Serves an engine and its members from one Serve replica."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from ray.serve.llm import LLMConfig, LLMServer  # pyright: ignore[reportUnknownVariableType]

from deployments.members.model_limits import ModelLimits
from deployments.members.replica import Deltas, MemberReplica, MemberStatus, Outcome, outcome_of
from deployments.vllm.internals import PlacedEngine, add_stat_logger, model_limits, skip_model_download
from deployments.vllm.member import EngineMember
from deployments.vllm.scheduler_stats import EngineBacklog
from deployments.vllm.tokenizer import engine_tokens
from fusion.chat import Call
from fusion.errors import MemberError


class VLLMReplica(LLMServer):
    """Offers what `MemberReplica` does, on `LLMServer`'s life cycle."""

    async def __init__(self, llm_config: LLMConfig) -> None:
        self._model_id = llm_config.model_id
        hosts = llm_config.engine_kwargs.get("allowed_media_domains") or ()
        self._backlog = EngineBacklog()
        # First, for `__del__` is called too when the engine does not start.
        traced = bool(llm_config.engine_kwargs.get("otlp_traces_endpoint"))
        self._replica = MemberReplica(
            EngineMember(self, self._model_id, image_hosts=hosts, backlog=self._backlog, traced=traced)
        )
        skip_model_download(llm_config)
        await super().__init__(llm_config, engine_cls=PlacedEngine)
        add_stat_logger(self, self._backlog)

    async def ask(self, call: Call) -> Outcome:
        return await self._replica.ask(call)

    async def watch(self, call: Call) -> AsyncGenerator[Deltas | Outcome, None]:
        async for item in self._replica.watch(call):
            yield item

    async def count(self, call: Call, texts: Sequence[str]) -> tuple[int, ...] | MemberError:
        """Count the tokens of the call's prompt, without its images, and of each text alone."""
        try:
            return await engine_tokens(self, self._model_id, call, texts)
        except Exception as error:
            return outcome_of(error, call)

    async def limits(self) -> ModelLimits:
        """The limits of the engine's model."""
        return ModelLimits(*model_limits(self))

    async def record_autoscaling_stats(self) -> dict[str, float]:
        return self._backlog.autoscaling_stats()

    async def status(self, members: Sequence[str]) -> dict[str, MemberStatus]:
        """The members' status: ready while the engine lives.

        Raises:
            Exception: it does not.
        """
        await self.check_health()
        return dict.fromkeys(members, MemberStatus(ready=True))
