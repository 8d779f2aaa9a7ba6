#!/usr/bin/env python3
"""Writes reference.json: what PyTorch makes of a small GPT, for tests/suite/pytorch.rs to be held against.

    pip install torch && python3 tests/pytorch/reference.py

Parameters and tokens come from closed formulas that the test computes too, so the file holds results alone.
Parameters are rounded to f32 and everything else is done in f64: what differs then is the test's rounding.
"""

import json
import math
import pathlib

import torch
import torch.nn as nn
import torch.nn.functional as F

LAYERS, HIDDEN, HEADS, SEQUENCE, VOCABULARY, BATCH = 2, 16, 2, 8, 256, 4
STEPS, RATE, DECAY = 4, 1e-2, 0.1
SAMPLES = 8

torch.set_default_dtype(torch.float64)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention_norm = nn.LayerNorm(HIDDEN)
        self.qkv = nn.Linear(HIDDEN, 3 * HIDDEN)
        self.output = nn.Linear(HIDDEN, HIDDEN)
        self.mlp_norm = nn.LayerNorm(HIDDEN)
        self.up = nn.Linear(HIDDEN, 4 * HIDDEN)
        self.down = nn.Linear(4 * HIDDEN, HIDDEN)

    def forward(self, x):
        batch, length, _ = x.shape
        heads = lambda z: z.view(batch, length, HEADS, HIDDEN // HEADS).transpose(1, 2)
        q, k, v = (heads(z) for z in self.qkv(self.attention_norm(x)).split(HIDDEN, 2))
        o = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.output(o.transpose(1, 2).reshape(batch, length, HIDDEN))
        return x + self.down(F.gelu(self.up(self.mlp_norm(x)), approximate="tanh"))


class GPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(VOCABULARY, HIDDEN)
        self.positions = nn.Embedding(SEQUENCE, HIDDEN)
        self.blocks = nn.ModuleList([Block() for _ in range(LAYERS)])
        self.norm = nn.LayerNorm(HIDDEN)
        self.head = nn.Linear(HIDDEN, VOCABULARY, bias=False)

    def forward(self, tokens, targets):
        x = self.table(tokens) + self.positions(torch.arange(SEQUENCE))
        for block in self.blocks:
            x = block(x)
        return F.cross_entropy(self.head(self.norm(x)).view(-1, VOCABULARY), targets.reshape(-1))


def named(model):
    """Name and parameter in the order and by the names of the simulator; linear weights stand transposed."""
    yield "embedding.table", model.table.weight, False
    yield "embedding.positions", model.positions.weight, False
    for index, block in enumerate(model.blocks):
        for part, norm in ("attention", block.attention_norm), ("mlp", block.mlp_norm):
            maps = (("qkv", block.qkv), ("output", block.output)) if part == "attention" else (
                ("up", block.up), ("down", block.down))
            yield f"layer {index} {part}.norm.gain", norm.weight, False
            yield f"layer {index} {part}.norm.bias", norm.bias, False
            for name, linear in maps:
                yield f"layer {index} {part}.{name}.weight", linear.weight, True
                yield f"layer {index} {part}.{name}.bias", linear.bias, False
    yield "head.norm.gain", model.norm.weight, False
    yield "head.norm.bias", model.norm.bias, False
    yield "head.weight", model.head.weight, True


def start(number, element, is_gain):
    """The first value of an element of the parameter with this number."""
    return (1.0 if is_gain else 0.0) + 0.3 * math.sin(0.37 * element * element + number)


def flat(tensor, transposed):
    return (tensor.T if transposed else tensor).reshape(-1)


def token(row, column):
    return (row * 31 + column * column * 7 + column * 3) % VOCABULARY


model = GPT()
parameters = list(named(model))
with torch.no_grad():
    for number, (name, parameter, transposed) in enumerate(parameters):
        values = [start(number, i, name.endswith("gain")) for i in range(parameter.numel())]
        values = torch.tensor(values).to(torch.float32).to(torch.float64)
        shape = parameter.T.shape if transposed else parameter.shape
        values = values.view(shape)
        parameter.copy_(values.T if transposed else values)

windows = torch.tensor([[token(row, column) for column in range(SEQUENCE + 1)] for row in range(BATCH)])
tokens, targets = windows[:, :-1], windows[:, 1:]

matrices = [parameter for _, parameter, _ in parameters if parameter.dim() == 2]
vectors = [parameter for _, parameter, _ in parameters if parameter.dim() == 1]
groups = [{"params": matrices, "weight_decay": DECAY}, {"params": vectors, "weight_decay": 0.0}]
optimizer = torch.optim.AdamW(groups, lr=RATE)

losses, records = [], []
for step in range(STEPS):
    optimizer.zero_grad()
    loss = model(tokens, targets)
    loss.backward()
    losses.append(loss.item())
    if step == 0:
        for name, parameter, transposed in parameters:
            gradient = flat(parameter.grad, transposed)
            # Adam's first step has the length of the learning rate however small the gradient is, so where
            # it is nothing but rounding (that of k's bias is nought) the step has no sign to compare.
            large = (gradient.abs() > 1e-3 * gradient.abs().max()).nonzero().view(-1).tolist()
            places = [large[i * len(large) // SAMPLES] for i in range(SAMPLES)]
            records.append({
                "name": name,
                "elements": gradient.numel(),
                "gradient_norm": gradient.norm().item(),
                "places": places,
                "gradients": [gradient[i].item() for i in places],
            })
    optimizer.step()
    if step == 0:
        for record, (_, parameter, transposed) in zip(records, parameters):
            record["after_one_step"] = [flat(parameter, transposed)[i].item() for i in record["places"]]

result = {
    "made_by": f"tests/pytorch/reference.py with PyTorch {torch.__version__.split('+')[0]}",
    "shape": {"layers": LAYERS, "hidden": HIDDEN, "heads": HEADS, "sequence": SEQUENCE, "vocabulary": VOCABULARY},
    "batch": BATCH,
    "learning_rate": RATE,
    "weight_decay": DECAY,
    "losses": losses,
    "parameters": records,
}
path = pathlib.Path(__file__).with_name("reference.json")
path.write_text(json.dumps(result, indent=1) + "\n")
print(f"{path}: losses {losses}")
