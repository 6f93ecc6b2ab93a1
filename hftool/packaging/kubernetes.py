"""The objects of a cluster that run the image: Deployment, Service, autoscaler, network policy, disruption budget."""

from pathlib import Path

from hftool.packaging.docker import command
from hftool.packaging.service import GRACE, KEY, MIB, PORT, USER, Service
from hftool.storage.run_folder import write_text

LEAVING = 5  # seconds in which the cluster forgets the pod's address, before SIGTERM
SCALE = 4  # the autoscaler goes up to so many times the least number of pods
CPU = 2  # cores, and so threads, of a pod
DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: "{name}"
  labels:
    app.kubernetes.io/name: "{name}"
    app.kubernetes.io/component: model-server
spec:
  # no `replicas`: the autoscaler in hpa.yaml decides, and each `apply` would reset it
  selector:
    matchLabels:
      app.kubernetes.io/name: "{name}"
  strategy:
    type: RollingUpdate
    rollingUpdate:
      maxUnavailable: 0
      maxSurge: 1
  template:
    metadata:
      labels:
        app.kubernetes.io/name: "{name}"
        app.kubernetes.io/component: model-server
    spec:
      automountServiceAccountToken: false
      enableServiceLinks: false
      # {leaving} s to be forgotten, {grace} s for requests in flight, and a margin
      terminationGracePeriodSeconds: {termination}
      securityContext:
        runAsNonRoot: true
        runAsUser: {user}
        runAsGroup: {user}
        fsGroup: {user}
        seccompProfile:
          type: RuntimeDefault
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              app.kubernetes.io/name: "{name}"
      containers:
        - name: server
          image: "{image}"
          imagePullPolicy: IfNotPresent
          args: [{args}]
          ports:
            - name: http
              containerPort: {port}
              protocol: TCP
          env:
            # as many threads as cores that it may use: libraries count those of the whole machine
            - name: OMP_NUM_THREADS
              valueFrom:
                resourceFieldRef:
                  containerName: server
                  resource: limits.cpu
                  divisor: "1"
          resources:
            requests:
              cpu: "{cpu}"
              # 1 GiB and {times} times the {weights} MiB of weights, in steps of 128 MiB
              memory: {memory}Mi
            limits:
              cpu: "{cpu}"
              # half as much again, for long texts and many at a time
              memory: {limit}Mi
          startupProbe:
            httpGet: {{path: /readyz, port: http}}
            periodSeconds: 2
            timeoutSeconds: 2
            failureThreshold: 90
          livenessProbe:
            httpGet: {{path: /livez, port: http}}
            periodSeconds: 10
            timeoutSeconds: 3
            failureThreshold: 3
          readinessProbe:
            httpGet: {{path: /readyz, port: http}}
            periodSeconds: 5
            timeoutSeconds: 2
            failureThreshold: 1
          lifecycle:
            preStop:
              exec:
                command: ["sleep", "{leaving}"]
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities:
              drop: ["ALL"]
          volumeMounts:
            - name: api-key
              mountPath: {key_folder}
              readOnly: true
            - name: tmp
              mountPath: /tmp
      volumes:
        # the Secret is not among these files: README.md says how to make it
        - name: api-key
          secret:
            secretName: "{name}-api-key"
            defaultMode: 288  # 0440
            items:
              - key: {key_name}
                path: {key_name}
        - name: tmp
          emptyDir:
            sizeLimit: 256Mi
"""
SERVICE = """\
apiVersion: v1
kind: Service
metadata:
  name: "{name}"
  labels:
    app.kubernetes.io/name: "{name}"
spec:
  type: ClusterIP
  selector:
    app.kubernetes.io/name: "{name}"
  ports:
    - name: http
      port: 80
      targetPort: http
      protocol: TCP
"""
HPA = """\
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: "{name}"
  labels:
    app.kubernetes.io/name: "{name}"
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: "{name}"
  minReplicas: {replicas}
  maxReplicas: {most}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: 70
    # Better, where an adapter brings the server's own metrics into the cluster (prometheus-adapter, KEDA): rows that wait.
    # - type: Pods
    #   pods:
    #     metric:
    #       name: hftool_queue_size
    #     target:
    #       type: AverageValue
    #       averageValue: "32"
  behavior:
    scaleDown:
      stabilizationWindowSeconds: 300
"""
NETWORK = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: "{name}"
  labels:
    app.kubernetes.io/name: "{name}"
spec:
  podSelector:
    matchLabels:
      app.kubernetes.io/name: "{name}"
  policyTypes: [Ingress, Egress]
  ingress:
    # anybody in the cluster who has the key; a `from` here narrows it
    - ports:
        - port: http
          protocol: TCP
  egress: []  # the server asks nobody anything, not even for names
"""
BUDGET = """\
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: "{name}"
  labels:
    app.kubernetes.io/name: "{name}"
spec:
  maxUnavailable: 1
  selector:
    matchLabels:
      app.kubernetes.io/name: "{name}"
"""
KUSTOMIZATION = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
# namespace: models
resources:
{resources}
"""
OBJECTS = {
    "deployment.yaml": DEPLOYMENT,
    "service.yaml": SERVICE,
    "hpa.yaml": HPA,
    "networkpolicy.yaml": NETWORK,
    "poddisruptionbudget.yaml": BUDGET,
}


def write_objects(service: Service, folder: Path) -> None:
    """Write the objects and kustomization.yaml into an existing folder. Raises StorageError."""
    for name, text in objects(service).items():
        write_text(folder / name, text)


def objects(service: Service) -> dict[str, str]:
    """File name -> YAML of each object, and the kustomization that names them."""
    key_folder, _, key_name = KEY.rpartition("/")
    values = {
        "name": service.name,
        "image": service.image,
        "args": ", ".join(f'"{word}"' for word in command()),
        "leaving": LEAVING,
        "grace": GRACE,
        "termination": LEAVING + GRACE + 10,
        "user": USER,
        "port": PORT,
        "cpu": CPU,
        "times": service.copies,
        "weights": round(service.weights / MIB),
        "memory": service.memory // MIB,
        "limit": service.memory * 3 // 2 // MIB,
        "key_folder": key_folder,
        "key_name": key_name,
        "replicas": service.replicas,
        "most": SCALE * service.replicas,
    }
    resources = "\n".join(f"  - {name}" for name in OBJECTS)
    return {name: text.format(**values) for name, text in OBJECTS.items()} | {
        "kustomization.yaml": KUSTOMIZATION.format(resources=resources)
    }
