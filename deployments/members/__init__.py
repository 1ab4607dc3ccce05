"""How a judge reaches a member, and what every member's replica offers (`replica.MemberReplica`).

The wrappers that a call passes, outermost first, each a `fusion.member.Member`:

    judge's side (deployments.judge.chain.judge_side)        replica's side (deployments.providers.chain.replica_side)

    FallingBack        other members when this one fails     CountedAttempts    numbers the attempts of one call
      Hedging          a second call when it is slow           Retrying         again after an error that may pass
        Traced         a span a call                             Breaking       nothing while the model is failing
          ProfiledMember    system prompt and sampling             Limiting     the backend's limits, shared
            LocalFirstMember  over a local socket, or ──►            TracedAttempts   a span an attempt
              HandleMember      through Serve's handle ──►             RemoteMember     the HTTP request

Engines are reached through their handle alone (`handle.HandleMember`), where Serve's request routers spread the load,
and their replicas have `deployments.vllm.member.EngineMember` in place of the right column. `model_limits` asks what an
engine's model takes; `pickling` is how values cross.
"""
