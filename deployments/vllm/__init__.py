"""A vLLM engine in its own Serve replica, through `ray.serve.llm`. `deployment.vllm_deployment` makes the deployment.

`replica` serves the engine's members, `engine` starts it, `member` asks it; `scheduler_stats` reads its queue,
`tokenizer` counts its tokens, `json_schema` and `cpu_executor` work around what it lacks.
"""
