import math
from dataclasses import replace

import pytest
import torch

from edge_s4op.errors import UsageError
from host.data.batches import batches
from host.training import Distillation, distillation_loss, train
from host.training.distill import teacher_sha256
from host.training.objective import cross_entropy
from tests.host.training.training_samples import SETTINGS, classifier, dataset

DATA = dataset()
(BATCH,) = batches(DATA.train.take(torch.arange(6).numpy()), 6, generator=None, device="cpu")


def by_hand(student, teacher, labels, temperature, weight):
    """Sample by sample, from the definitions."""
    total = 0.0
    for s, t, label in zip(student, teacher, labels, strict=True):
        hard = -math.log(math.exp(s[label]) / sum(map(math.exp, s)))
        p = [math.exp(z / temperature) for z in t]
        q = [math.exp(z / temperature) for z in s]
        p, q = [v / sum(p) for v in p], [v / sum(q) for v in q]
        soft = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
        total += (1 - weight) * hard + weight * temperature**2 * soft
    return total / len(labels)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_loss_is_its_equation(temperature, weight):
    student, teacher = [[1.0, -0.5, 0.2], [0.0, 2.0, -1.0]], [[0.3, 0.1, -2.0], [1.0, 1.5, 0.0]]
    loss = distillation_loss(
        torch.tensor(student, dtype=torch.float64),
        torch.tensor(teacher, dtype=torch.float64),
        torch.tensor([2, 1]),
        temperature=temperature,
        weight=weight,
    )
    assert loss.item() == pytest.approx(by_hand(student, teacher, [2, 1], temperature, weight), rel=1e-12)


def test_gradients_keep_their_size_at_any_temperature():
    """T^2 makes up for the 1 / T^2 of the softened gradients: with small logits, d/ds = (s - t) / classes."""
    teacher = torch.tensor([[1e-3, -1e-3]], dtype=torch.float64)
    sizes = []
    for temperature in (1.0, 2.0, 10.0):
        student = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
        label = torch.tensor([0])
        distillation_loss(student, teacher, label, temperature=temperature, weight=1.0).backward()
        sizes.append(student.grad[0, 0].item())
    assert sizes == pytest.approx([-0.5e-3] * 3, rel=1e-3)


def test_the_teacher_answers_without_dropout_or_gradients_and_stays_as_it_was():
    teacher = classifier(seed=1, dropout=0.5, norm="batch").train()
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    objective, student = Distillation(teacher), classifier(seed=2)
    first = objective(student, BATCH)
    assert torch.equal(first, objective(student, BATCH))
    first.backward()
    with torch.no_grad():
        logits = teacher.eval()(BATCH.x)
        expected = distillation_loss(student(BATCH.x), logits, BATCH.y)
    assert torch.equal(first, expected)
    train(student, DATA, SETTINGS, objective=objective)
    assert all(torch.equal(before[name], tensor) for name, tensor in teacher.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in teacher.parameters())


def test_training_the_given_model_further_does_not_change_its_copy_that_teaches():
    model = classifier(seed=1)
    objective = Distillation(model)
    identity = objective.identity()
    train(model, DATA, SETTINGS, objective=objective)  # it may even teach itself
    assert objective.identity() == identity
    assert teacher_sha256(model) != identity["teacher_sha256"]


def test_without_weight_it_is_cross_entropy():
    student = classifier(seed=2)
    loss = Distillation(classifier(seed=1), weight=0.0)(student, BATCH)
    assert loss.item() == pytest.approx(cross_entropy(student, BATCH).item(), rel=1e-6)


def test_a_student_learns_what_its_teacher_says_and_not_what_the_labels_say():
    settings = SETTINGS.model_copy(update={"epochs": 20, "lr": 0.03, "ssm_lr": 0.03})
    data = dataset(40)
    data = replace(data, validation=replace(data.validation, y=1 - data.validation.y))
    swapped = replace(data, train=replace(data.train, y=1 - data.train.y))
    teacher = classifier(seed=1, d_model=8)
    train(teacher, swapped, settings)

    def last_accuracy(**options):
        result = train(classifier(seed=2, d_model=8), data, settings, **options)
        return result.history[-1].validation_accuracy

    assert last_accuracy(objective=Distillation(teacher, weight=1.0)) > 0.8
    assert last_accuracy() < 0.2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": 0.0}, "temperature is too low; expected above 0; found 0.0"),
        ({"temperature": float("nan")}, "temperature is too low"),
        ({"weight": 1.5}, "weight is out of range; expected 0 to 1; found 1.5"),
    ],
)
def test_settings_that_mean_nothing_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        Distillation(classifier(), **changes)


def test_a_teacher_of_other_classes_is_refused_at_the_first_step():
    steps = []
    with pytest.raises(UsageError, match="teacher does not fit the model: num_classes; expected 2; found 3"):
        train(
            classifier(),
            DATA,
            SETTINGS,
            objective=Distillation(classifier(num_classes=3)),
            on_progress=steps.append,
        )
    assert steps == []


class PerSample:
    def __call__(self, model, batch):
        return torch.nn.functional.cross_entropy(model(batch.x), batch.y, reduction="none")

    def identity(self):
        return "per sample"


def test_an_objective_that_is_not_one_number_is_refused():
    with pytest.raises(UsageError, match=r"expected one number, of shape \(\).*found shape \(4,\)"):
        train(classifier(), DATA, SETTINGS, objective=PerSample())


class Twice:
    def __call__(self, model, batch):
        return 2 * cross_entropy(model, batch)

    def identity(self):
        return "twice"


def test_the_objective_is_what_is_trained_and_reported_and_validation_stays_cross_entropy():
    settings = SETTINGS.model_copy(update={"epochs": 1, "lr": 1e-9, "ssm_lr": 1e-9})
    plain = train(classifier(), DATA, settings).history[0]
    twice = train(classifier(), DATA, settings, objective=Twice()).history[0]
    assert twice.train_loss == pytest.approx(2 * plain.train_loss, rel=1e-4)
    assert twice.validation_loss == pytest.approx(plain.validation_loss, rel=1e-4)
