"""Writes toy.scores: what KenLM gives for sentences under toy.arpa (pip install kenlm)."""
import pathlib, kenlm

here = pathlib.Path(__file__).parent
model = kenlm.Model(str(here / "toy.arpa"))
sentences = ["", "the", "the cat sat", "cat the sat", "the dog sat", "dog dog", "кошка 是 the cat sat sat",
             "the кошка 是", "the sat the cat", "sat sat sat", "the cat dog sat the cat sat"]
with open(here / "toy.scores", "w") as out:
    for sentence in sentences:
        print(sentence, f"{model.score(sentence):.6f}", sep="\t", file=out)
