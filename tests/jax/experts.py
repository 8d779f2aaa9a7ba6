#!/usr/bin/env python3
"""Writes experts.json: what JAX makes of a small GPT with experts, for tests/suite/experts.rs to be held against.

    pip install jax && python3 tests/jax/experts.py

Written from the papers (GShard, Switch Transformers, Mixtral) and not from the simulator: experts are not sent
anywhere, every token meets every expert and the weights of those that it was not sent to are nought; gradients are
JAX's own. Parameters and tokens come from closed formulas that the test computes too. Parameters are rounded to f32
and everything else is done in f64: what differs then is the test's rounding.
"""

import json
import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

jax.config.update("jax_enable_x64", True)

LAYERS, HIDDEN, HEADS, SEQUENCE, VOCABULARY, BATCH = 2, 16, 2, 8, 256, 4
FFN, EXPERTS = 24, 4
ALPHA, RATE, STEPS, SAMPLES = 0.5, 0.1, 3, 6
# Name, experts a token meets, capacity factor (None: whatever comes), every how manyth block.
CASES = [("dropless", 2, None, 1), ("capacity", 2, 0.75, 1), ("switch", 1, 1.0, 2)]


def shapes(every):
    """Names and shapes in the simulator's order."""
    yield "embedding.table", (VOCABULARY, HIDDEN)
    yield "embedding.positions", (SEQUENCE, HIDDEN)
    for layer in range(LAYERS):
        of = lambda part: f"layer {layer} {part}"
        yield of("attention.norm.gain"), (HIDDEN,)
        yield of("attention.norm.bias"), (HIDDEN,)
        yield of("attention.qkv.weight"), (HIDDEN, 3 * HIDDEN)
        yield of("attention.qkv.bias"), (3 * HIDDEN,)
        yield of("attention.output.weight"), (HIDDEN, HIDDEN)
        yield of("attention.output.bias"), (HIDDEN,)
        yield of("mlp.norm.gain"), (HIDDEN,)
        yield of("mlp.norm.bias"), (HIDDEN,)
        if (layer + 1) % every == 0:
            yield of("router.weight"), (HIDDEN, EXPERTS)
            yield of("experts.up.weight"), (EXPERTS, HIDDEN, FFN)
            yield of("experts.down.weight"), (EXPERTS, FFN, HIDDEN)
        else:
            yield of("mlp.up.weight"), (HIDDEN, FFN)
            yield of("mlp.up.bias"), (FFN,)
            yield of("mlp.down.weight"), (FFN, HIDDEN)
            yield of("mlp.down.bias"), (HIDDEN,)
    yield "head.norm.gain", (HIDDEN,)
    yield "head.norm.bias", (HIDDEN,)
    yield "head.weight", (HIDDEN, VOCABULARY)


def start(number, name, shape):
    centre = 1.0 if name.endswith("gain") else 0.0
    values = [centre + 0.3 * math.sin(0.37 * i * i + number) for i in range(math.prod(shape))]
    return jnp.asarray(np.array(values, np.float32).astype(np.float64).reshape(shape))


def norm(x, gain, bias):
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    return (x - mean) / jnp.sqrt(variance + 1e-5) * gain + bias


def gelu(x):
    return jax.nn.gelu(x, approximate=True)


def attention(p, layer, x):
    of = lambda part: p[f"layer {layer} attention.{part}"]
    qkv = norm(x, of("norm.gain"), of("norm.bias")) @ of("qkv.weight") + of("qkv.bias")
    heads = lambda z: z.reshape(SEQUENCE, HEADS, HIDDEN // HEADS).transpose(1, 0, 2)
    q, k, v = (heads(z) for z in jnp.split(qkv, 3, axis=-1))
    scores = q @ k.transpose(0, 2, 1) / math.sqrt(HIDDEN // HEADS)
    scores = jnp.where(jnp.tril(jnp.ones((SEQUENCE, SEQUENCE), bool)), scores, -jnp.inf)
    o = (jax.nn.softmax(scores, -1) @ v).transpose(1, 0, 2).reshape(SEQUENCE, HIDDEN)
    return x + o @ of("output.weight") + of("output.bias")


def experts(p, layer, x, top_k, factor):
    """The block's second half, and its load-balancing loss before α. One sample is one group."""
    of = lambda part: p[f"layer {layer} {part}"]
    n = norm(x, of("mlp.norm.gain"), of("mlp.norm.bias"))
    probabilities = jax.nn.softmax(n @ of("router.weight"), -1)
    # The likeliest first; of equals the first.
    order = jnp.argsort(-jax.lax.stop_gradient(probabilities), axis=-1, stable=True)[:, :top_k]
    chosen = jax.nn.one_hot(order, EXPERTS)  # token, choice, expert
    picked = (chosen * probabilities[:, None, :]).sum(-1)
    gates = picked / picked.sum(-1, keepdims=True) if top_k > 1 else picked
    kept = chosen
    if factor is not None:
        room = max(1, math.ceil(factor * SEQUENCE * top_k / EXPERTS))
        flat = chosen.reshape(SEQUENCE * top_k, EXPERTS)
        place = jnp.cumsum(flat, axis=0) - flat
        kept = (flat * (place < room)).reshape(chosen.shape)
    every = jnp.einsum("sef,efh->seh", gelu(jnp.einsum("sh,ehf->sef", n, of("experts.up.weight"))),
                       of("experts.down.weight"))
    y = jnp.einsum("ske,sk,seh->sh", kept, gates, every)
    share = chosen.sum((0, 1)) / (SEQUENCE * top_k)
    balance = EXPERTS * (share * probabilities.mean(0)).sum()
    return x + y, balance, (chosen - kept).sum()


def mlp(p, layer, x):
    of = lambda part: p[f"layer {layer} mlp.{part}"]
    n = norm(x, of("norm.gain"), of("norm.bias"))
    return x + gelu(n @ of("up.weight") + of("up.bias")) @ of("down.weight") + of("down.bias")


def sample_loss(p, tokens, targets, top_k, factor, every):
    x = p["embedding.table"][tokens] + p["embedding.positions"]
    balance, dropped = 0.0, 0.0
    for layer in range(LAYERS):
        x = attention(p, layer, x)
        if (layer + 1) % every == 0:
            x, more, lost = experts(p, layer, x, top_k, factor)
            balance, dropped = balance + more, dropped + lost
        else:
            x = mlp(p, layer, x)
    logits = norm(x, p["head.norm.gain"], p["head.norm.bias"]) @ p["head.weight"]
    entropy = -jax.nn.log_softmax(logits, -1)[jnp.arange(SEQUENCE), targets].mean()
    return entropy, balance, dropped


def total(p, windows, case):
    _, top_k, factor, every = case
    parts = [sample_loss(p, window[:-1], window[1:], top_k, factor, every) for window in windows]
    entropy, balance, dropped = (sum(part[i] for part in parts) for i in range(3))
    return (entropy + ALPHA * balance) / BATCH, (entropy / BATCH, balance / BATCH, dropped)


windows = jnp.asarray([[(row * 31 + c * c * 7 + c * 3) % VOCABULARY for c in range(SEQUENCE + 1)]
                       for row in range(BATCH)])
result = {"made_by": f"tests/jax/experts.py with JAX {jax.__version__}", "cases": []}
for case in CASES:
    parameters = {name: start(number, name, shape) for number, (name, shape) in enumerate(shapes(case[3]))}
    losses, balances, records, dropped = [], [], [], []
    for step in range(STEPS):
        (_, (entropy, balance, lost)), gradients = jax.value_and_grad(total, has_aux=True)(parameters, windows, case)
        losses.append(float(entropy))
        balances.append(float(balance))
        dropped.append(int(lost))
        if step == 0:
            for name, gradient in gradients.items():
                flat = np.asarray(gradient).reshape(-1)
                largest = np.argsort(-np.abs(flat), kind="stable")[:SAMPLES]
                records.append({
                    "name": name,
                    "gradient_norm": float(np.linalg.norm(flat)),
                    "places": [int(i) for i in largest],
                    "gradients": [float(flat[i]) for i in largest],
                })
        parameters = {name: value - RATE * gradients[name] for name, value in parameters.items()}
    name, top_k, factor, every = case
    result["cases"].append({
        "name": name, "top_k": top_k, "capacity_factor": factor, "every": every,
        "losses": losses, "balances": balances, "dropped": dropped, "parameters": records,
    })
path = pathlib.Path(__file__).with_name("experts.json")
path.write_text(json.dumps(result, indent=1) + "\n")
print([(case["name"], case["losses"], case["balances"], case["dropped"]) for case in result["cases"]])
