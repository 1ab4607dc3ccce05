"""A vLLM engine in its own Serve replica, through `ray.serve.llm`. `deployment.vllm_deployment` makes the deployment.

`replica` serves the engine's members, `member` asks the engine; `scheduler_stats` follows its queue, `tokenizer` counts
its tokens, `json_schema` rewrites schemas for its grammar; `internals` is all that is used of vLLM's and `ray.llm`'s
private parts.
"""
