"""Manifests: a Deployment with its Service, its scaling and its budget of disruptions; and one for KServe.

Source: the API of Kubernetes, ``apps/v1``, ``autoscaling/v2``, ``policy/v1``; KServe's ``serving.kserve.io/v1beta1``,
predictors with a container of their own; the restricted profile of the Pod Security Standards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from modelworks.core.errors import Invalid
from modelworks.pipelines.export.image import Exported
from modelworks.pipelines.export.words import STATE, USER, image_name

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Wanted:
    """What an operator may choose.

    Attributes:
        image: Where the image will be; its name and tag by default.
        replicas: Pods at least.
        most: Pods at most, as load grows.
        cpu: Processors that a pod is given, as Kubernetes writes it.
        memory: Of a pod; more than that ends it.
        namespace: Where; the current one by default.
    """

    image: str = ""
    replicas: int = 2
    most: int = 10
    cpu: str = "500m"
    memory: str = "1Gi"
    namespace: str = ""

    def __post_init__(self) -> None:
        if not 1 <= self.replicas <= self.most:
            raise Invalid(
                f"there cannot be {self.replicas} to {self.most} pods",
                "",
                "let replicas be 1 or more, and most as many",
            )


def manifests(exported: Exported, wanted: Wanted, port: int = 8000) -> dict[str, str]:
    """The files, by name: ``kubernetes.yaml`` for a plain cluster, ``kserve.yaml`` for one with KServe."""
    made = _Made(exported, wanted, port)
    plain = [made.deployment(), made.service(), made.scaling()]
    if wanted.replicas > 1:  # of a single pod a budget would keep its node from ever being emptied
        plain.append(made.budget())
    return {"kubernetes.yaml": _text(plain), "kserve.yaml": _text([made.kserve()])}


def _text(documents: list[Manifest]) -> str:
    return str(yaml.safe_dump_all(documents, sort_keys=False, width=110))


@dataclass(frozen=True)
class _Made:
    exported: Exported
    wanted: Wanted
    port: int

    @property
    def name(self) -> str:
        return image_name(self.exported.name)

    @property
    def image(self) -> str:
        return self.wanted.image or f"{self.name}:{self.exported.tag}"

    @property
    def chosen(self) -> Manifest:
        """By which pods are found: it must never change."""
        return {"app.kubernetes.io/name": self.name, "app.kubernetes.io/component": "model"}

    def meta(self) -> Manifest:
        labels = {
            **self.chosen, "app.kubernetes.io/version": self.exported.tag,
            "app.kubernetes.io/managed-by": "modelworks",
        }  # fmt: skip
        place = {"namespace": self.wanted.namespace} if self.wanted.namespace else {}
        return {
            "name": self.name,
            **place,
            "labels": labels,
            "annotations": {"modelworks/model": self.exported.ref},
        }

    def container(self, name: str) -> Manifest:
        def probe(path: str, every: int, failures: int) -> Manifest:
            asked = {"path": path, "port": self.port}
            return {
                "httpGet": asked,
                "periodSeconds": every,
                "timeoutSeconds": 2,
                "failureThreshold": failures,
            }

        token = {"name": f"{self.name}-token", "key": "token", "optional": True}
        return {
            "name": name,
            "image": self.image,
            "ports": [{"containerPort": self.port, "protocol": "TCP"}],
            # With a secret of that name callers must send the token in it; without, everybody may ask.
            "env": [{"name": "MODELWORKS_SERVER_TOKEN", "valueFrom": {"secretKeyRef": token}}],
            "resources": {
                "requests": {"cpu": self.wanted.cpu, "memory": self.wanted.memory},
                "limits": {"memory": self.wanted.memory},
            },
            "startupProbe": probe("/readyz", 2, 90),
            "readinessProbe": probe("/readyz", 5, 2),
            "livenessProbe": probe("/healthz", 10, 6),
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            "volumeMounts": [
                {"name": "log", "mountPath": f"{STATE}/{place}", "subPath": place}
                for place in ("spool", "tables")
            ],
        }

    def pod(self) -> Manifest:
        """What both kinds of cluster have in common; the log survives the container, not the pod."""
        return {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 30,
            "securityContext": {
                "runAsNonRoot": True, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "volumes": [{"name": "log", "emptyDir": {}}],
        }  # fmt: skip

    def deployment(self) -> Manifest:
        # A pod answers on until everybody knows that it goes.
        leaving = {"preStop": {"exec": {"command": ["sleep", "5"]}}}
        spread = {
            "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": self.chosen},
        }  # fmt: skip
        scraped = {"prometheus.io/scrape": "true", "prometheus.io/port": str(self.port)}
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": self.meta(),
            "spec": {
                "selector": {"matchLabels": self.chosen},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
                "template": {
                    "metadata": {"labels": self.meta()["labels"], "annotations": scraped},
                    "spec": {
                        **self.pod(),
                        "topologySpreadConstraints": [spread],
                        "containers": [{**self.container("model"), "lifecycle": leaving}],
                    },
                },
            },
        }

    def service(self) -> Manifest:
        ports = [{"name": "http", "port": 80, "targetPort": self.port, "protocol": "TCP"}]
        return {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": self.meta(),
            "spec": {"selector": self.chosen, "ports": ports},
        }

    def scaling(self) -> Manifest:
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": self.name}
        busy = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}
        return {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": self.meta(),
            "spec": {
                "scaleTargetRef": target,
                "minReplicas": self.wanted.replicas,
                "maxReplicas": self.wanted.most,
                "metrics": [{"type": "Resource", "resource": busy}],
            },
        }

    def budget(self) -> Manifest:
        return {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": self.meta(),
            "spec": {"maxUnavailable": 1, "selector": {"matchLabels": self.chosen}},
        }

    def kserve(self) -> Manifest:
        return {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": self.meta(),
            "spec": {
                "predictor": {
                    "minReplicas": self.wanted.replicas,
                    "maxReplicas": self.wanted.most,
                    **self.pod(),
                    "containers": [self.container("kserve-container")],
                }
            },
        }
