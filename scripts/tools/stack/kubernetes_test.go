package stack

import (
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// objects is an overlay as `kubectl apply -k` would send it, by kind and by name.
type objects map[string]map[string]any

// kinds makes an empty object of each kind that may be there.
var kinds = map[string]func() any{
	"v1 Namespace":                            func() any { return new(corev1.Namespace) },
	"v1 ConfigMap":                            func() any { return new(corev1.ConfigMap) },
	"v1 Secret":                               func() any { return new(corev1.Secret) },
	"v1 Service":                              func() any { return new(corev1.Service) },
	"v1 ServiceAccount":                       func() any { return new(corev1.ServiceAccount) },
	"apps/v1 Deployment":                      func() any { return new(appsv1.Deployment) },
	"apps/v1 StatefulSet":                     func() any { return new(appsv1.StatefulSet) },
	"policy/v1 PodDisruptionBudget":           func() any { return new(policyv1.PodDisruptionBudget) },
	"autoscaling/v2 HorizontalPodAutoscaler":  func() any { return new(autoscalingv2.HorizontalPodAutoscaler) },
	"networking.k8s.io/v1 NetworkPolicy":      func() any { return new(networkingv1.NetworkPolicy) },
	"networking.k8s.io/v1 Ingress":            func() any { return new(networkingv1.Ingress) },
	"monitoring.coreos.com/v1 ServiceMonitor": func() any { return new(serviceMonitor) },
}

// serviceMonitor is what is used here of the Prometheus Operator's type of that name.
type serviceMonitor struct {
	APIVersion string         `json:"apiVersion"`
	Kind       string         `json:"kind"`
	Metadata   map[string]any `json:"metadata"`
	Spec       struct {
		Selector struct {
			MatchLabels map[string]string `json:"matchLabels"`
		} `json:"selector"`
		Endpoints []struct {
			Port     string `json:"port"`
			Path     string `json:"path"`
			Interval string `json:"interval"`
		} `json:"endpoints"`
	} `json:"spec"`
}

// build builds an overlay and decodes each object into its type, where a field of another name or type is a fault.
func build(t *testing.T, overlay string) objects {
	t.Helper()
	if overlay == chart {
		return install(t, nil)
	}
	list, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), at("compose/kubernetes/overlays", overlay))
	if err != nil {
		t.Fatalf("%s: %v", overlay, err)
	}
	all := objects{}
	for _, r := range list.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		all.add(t, overlay, text)
	}
	return all
}

// add decodes an object and puts it among the others.
func (all objects) add(t *testing.T, from string, text []byte) {
	t.Helper()
	var head metav1.PartialObjectMetadata
	if err := yaml.Unmarshal(text, &head); err != nil {
		t.Fatalf("%s: %v:\n%s", from, err, text)
	}
	id := head.APIVersion + " " + head.Kind
	empty, known := kinds[id]
	if !known {
		t.Fatalf("%s: nobody here knows %s", from, id)
	}
	object := empty()
	if err := yaml.UnmarshalStrict(text, object); err != nil {
		t.Errorf("%s: %s %s: %v", from, id, head.Name, err)
	}
	if head.Namespace != "aigateway" && head.Kind != "Namespace" {
		t.Errorf("%s: %s %s is in the namespace %q", from, id, head.Name, head.Namespace)
	}
	if all[head.Kind] == nil {
		all[head.Kind] = map[string]any{}
	}
	if all[head.Kind][head.Name] != nil {
		t.Errorf("%s: two of %s %s", from, id, head.Name)
	}
	all[head.Kind][head.Name] = object
}

// What is looked at: the overlays, and the chart as it is installed without values of one's own.
var overlays = []string{"kind", "aks", chart}

// pods is the template of each workload, by name.
func (all objects) pods() map[string]corev1.PodTemplateSpec {
	pods := map[string]corev1.PodTemplateSpec{}
	for name, d := range all["Deployment"] {
		pods[name] = d.(*appsv1.Deployment).Spec.Template
	}
	for name, s := range all["StatefulSet"] {
		pods[name] = s.(*appsv1.StatefulSet).Spec.Template
	}
	return pods
}

// Every pod passes the restricted profile of Pod Security, has its probes and its share of a node, and a known image.
func TestKubernetesPods(t *testing.T) {
	for _, overlay := range overlays {
		for name, pod := range build(t, overlay).pods() {
			fault := func(what string) { t.Errorf("%s: %s %s", overlay, name, what) }
			spec, c := pod.Spec, pod.Spec.Containers[0]
			if s := spec.SecurityContext; s == nil || s.RunAsNonRoot == nil || !*s.RunAsNonRoot || s.RunAsUser == nil || *s.RunAsUser == 0 ||
				s.SeccompProfile == nil || s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
				fault("may be root, or makes any system call")
			}
			if s := c.SecurityContext; s == nil || !*s.ReadOnlyRootFilesystem || *s.AllowPrivilegeEscalation || s.Capabilities.Drop[0] != "ALL" {
				fault("has a root that can be written, privileges or capabilities")
			}
			if c.ReadinessProbe == nil || c.LivenessProbe == nil {
				fault("is not probed")
			}
			if c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero() {
				fault("asks for no CPU or memory, or has no limit")
			}
			if _, version, ok := strings.Cut(c.Image[strings.LastIndex(c.Image, "/")+1:], ":"); !ok || version == "latest" {
				fault("runs " + c.Image)
			}
			if automount := spec.AutomountServiceAccountToken; automount == nil || *automount {
				fault("is given a token for the API server")
			}
		}
	}
}

// A gateway that is told to end has left every load balancer first, then has its grace, then a little.
func TestKubernetesGrace(t *testing.T) {
	for _, overlay := range overlays {
		all := build(t, overlay)
		pod := all.pods()["gateway"].Spec
		grace, err := time.ParseDuration(all.config(t)["SHUTDOWN_GRACE"])
		if err != nil {
			t.Fatal(err)
		}
		c := pod.Containers[0]
		sleep := time.Duration(c.Lifecycle.PreStop.Sleep.Seconds) * time.Second
		if given := time.Duration(*pod.TerminationGracePeriodSeconds) * time.Second; given < sleep+grace+5*time.Second {
			t.Errorf("%s: %v for a preStop of %v and a grace of %v", overlay, given, sleep, grace)
		}
		probe := c.ReadinessProbe
		if notice := time.Duration(probe.PeriodSeconds*probe.FailureThreshold) * time.Second; sleep < notice {
			t.Errorf("%s: preStop takes %v, but it takes %v until a pod is found not to be ready", overlay, sleep, notice)
		}
		if c.LivenessProbe.HTTPGet.Path != "/livez" || probe.HTTPGet.Path != "/readyz" {
			t.Errorf("%s: alive is %s, ready is %s", overlay, c.LivenessProbe.HTTPGet.Path, probe.HTTPGet.Path)
		}
	}
}

// config is the ConfigMap that the gateway is given, by the name with its hash.
func (all objects) config(t *testing.T) map[string]string {
	t.Helper()
	from := all.pods()["gateway"].Spec.Containers[0].EnvFrom
	m, ok := all["ConfigMap"][from[0].ConfigMapRef.Name].(*corev1.ConfigMap)
	if !ok {
		t.Fatalf("no ConfigMap %s", from[0].ConfigMapRef.Name)
	}
	return m.Data
}

// Settings are the gateway's own, and replicas share.
func TestKubernetesSettings(t *testing.T) {
	known := strings.Join(settings(t), " ") + " "
	for _, overlay := range overlays {
		config := build(t, overlay).config(t)
		for name, value := range config {
			if !strings.Contains(known, name+" ") {
				t.Errorf("%s: %s is no setting", overlay, name)
			}
			if value == "" {
				t.Errorf("%s: %s is empty", overlay, name)
			}
		}
		if config["CACHE_BACKEND"] != "redis" || config["RL_BACKEND"] != "redis" {
			t.Errorf("%s: replicas keep and limit each by itself", overlay)
		}
	}
}

// Whatever names another object names one that is there.
func TestKubernetesReferences(t *testing.T) {
	for _, overlay := range overlays {
		all := build(t, overlay)
		matches := func(what string, selector map[string]string) {
			for _, pod := range all.pods() {
				if within(selector, pod.Labels) {
					return
				}
			}
			t.Errorf("%s: %s selects no pod: %v", overlay, what, selector)
		}
		for name, o := range all["Service"] {
			s := o.(*corev1.Service)
			matches("Service "+name, s.Spec.Selector)
			for _, port := range s.Spec.Ports {
				if !all.hasPort(s.Spec.Selector, port.TargetPort.StrVal) {
					t.Errorf("%s: Service %s leads to no port %q", overlay, name, port.TargetPort.StrVal)
				}
			}
		}
		for name, o := range all["NetworkPolicy"] {
			matches("NetworkPolicy "+name, o.(*networkingv1.NetworkPolicy).Spec.PodSelector.MatchLabels)
		}
		for name, o := range all["PodDisruptionBudget"] {
			matches("PodDisruptionBudget "+name, o.(*policyv1.PodDisruptionBudget).Spec.Selector.MatchLabels)
		}
		for name, o := range all["HorizontalPodAutoscaler"] {
			h := o.(*autoscalingv2.HorizontalPodAutoscaler).Spec
			if all["Deployment"][h.ScaleTargetRef.Name] == nil || *h.MinReplicas < 2 || h.MaxReplicas <= *h.MinReplicas {
				t.Errorf("%s: HorizontalPodAutoscaler %s scales %s from %d to %d", overlay, name, h.ScaleTargetRef.Name, *h.MinReplicas, h.MaxReplicas)
			}
		}
		for name, o := range all["Ingress"] {
			for _, rule := range o.(*networkingv1.Ingress).Spec.Rules {
				for _, path := range rule.HTTP.Paths {
					to := path.Backend.Service
					if s, ok := all["Service"][to.Name].(*corev1.Service); !ok || s.Spec.Ports[0].Name != to.Port.Name {
						t.Errorf("%s: Ingress %s leads to %s %s", overlay, name, to.Name, to.Port.Name)
					}
				}
			}
		}
		for name, o := range all["ServiceMonitor"] {
			selector, found := o.(*serviceMonitor).Spec.Selector.MatchLabels, false
			for _, s := range all["Service"] {
				found = found || within(selector, s.(*corev1.Service).Labels)
			}
			if !found {
				t.Errorf("%s: ServiceMonitor %s selects no Service: %v", overlay, name, selector)
			}
		}
	}
}

// One Redis is a demo's; where it matters an operator brings his own.
func TestKubernetesRedis(t *testing.T) {
	f := func(overlay, addr string, own bool) {
		t.Helper()
		all := build(t, overlay)
		if got := all.config(t)["REDIS_ADDR"]; !strings.HasPrefix(got, addr) || (all["StatefulSet"]["redis"] != nil) != own {
			t.Errorf("%s: Redis at %s, of its own: %v", overlay, got, all["StatefulSet"]["redis"] != nil)
		}
	}
	f("kind", "redis:6379", true)
	f("aks", "rediss://", false)
}

func within(selector, labels map[string]string) bool {
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return len(selector) > 0 || len(labels) > 0
}

// hasPort tells whether pods of the selector name a port.
func (all objects) hasPort(selector map[string]string, name string) bool {
	for _, pod := range all.pods() {
		for _, port := range pod.Spec.Containers[0].Ports {
			if within(selector, pod.Labels) && port.Name == name {
				return true
			}
		}
	}
	return false
}
