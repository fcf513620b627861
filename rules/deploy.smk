# Deploy: a server really serves every staged adapter beside its base, or there is no sentinel.


# The embedded engine runs in the environment `serve`. NIM is a container, which the check starts from outside of any.
SERVER = "workflow" if NIM else "serve"
ON_ENGINE = ["--on-host", "--secret", "NGC_API_KEY", "--param", "nim", NIM.text()] if NIM else []


rule check_deployment:
    """Start the engine, ask base and adapters, write the sentinel, stop the engine."""
    input:
        venv=local(venv_marker(SERVER) if NIM else venv(SERVER)),
        description=local("schemas/openapi.json"),
        files=BASE.files,
        staged=expand(STAGED, adapter=config["adapters"]),
        predictions=expand("results/evaluation/{adapter}.predictions.jsonl", adapter=config["adapters"]),
    output:
        ready="results/deploy/ready.json",
    log:
        "logs/check_deployment.log",
    benchmark:
        "benchmarks/check_deployment.tsv"
    threads: config["threads"]
    resources:
        mem_mb=growing(4000),
        runtime=growing(30 + config["deploy"]["timeout"] // 60),
    params:
        code=code(SERVER, "scripts/check_deployment.py"),
        options=given(
            *["--env", SERVER, "--always", "--loopback", *ON_ENGINE, "--threads", config["threads"]],
            engine=config["deploy"]["engine"],
            base=config["base"]["name"],
            port=config["deploy"]["port"],
            timeout=config["deploy"]["timeout"],
            threads=config["threads"],
            context_length=config["deploy"]["embedded"]["context_length"],
            max_new_tokens=config["evaluate"]["max_new_tokens"],
            differing_answers=config["deploy"]["differing_answers"],
        ),
    shell:
        "python scripts/step.py {params.options:q} --memory {resources.mem_mb} --log {log:q}"
        " --input description {input.description:q}"
        " --input files {input.files:q} --input staged {input.staged:q} --input predictions {input.predictions:q}"
        " --output ready {output.ready:q}"
        " -- scripts/check_deployment.py"


rule server:
    """What `make serve` runs the engine in."""
    input:
        venv_marker(SERVER),
    localrule: True
