package stack

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"
)

// chart is the Helm chart among the overlays, which is named for its release.
const chart = "chart"

// render is the chart as Helm renders it for a release called gateway, by template. values are as they stand in a file of values.
func render(values string) (map[string]string, error) {
	c, err := loader.LoadDir(at("compose/kubernetes/chart"))
	if err != nil {
		return nil, err
	}
	given := map[string]any{}
	if err := yaml.Unmarshal([]byte(values), &given); err != nil {
		return nil, err
	}
	all, err := chartutil.ToRenderValues(c, given, chartutil.ReleaseOptions{Name: "gateway", Namespace: "aigateway", IsInstall: true}, chartutil.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	return engine.Render(c, all)
}

// install renders the chart and decodes each object into its type.
func install(t *testing.T, values []byte) objects {
	t.Helper()
	files, err := render(string(values))
	if err != nil {
		t.Fatal(err)
	}
	all := objects{}
	for name, text := range files {
		if filepath.Ext(name) != ".yaml" {
			continue
		}
		for _, object := range bytes.Split([]byte("\n"+text), []byte("\n---\n")) {
			if len(bytes.TrimSpace(object)) > 0 {
				all.add(t, name, object)
			}
		}
	}
	return all
}

// everything turns on all that the chart has.
const everything = `
image: {repository: registry.example/aigateway, digest: "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}
settings: {MAX_BODY_BYTES: 67108864, ACCESS_LOG: true, ACCESS_LOG_SAMPLE: 0.1, LLM_SERVICE_URL: "http://vllm:8000"}
config: {port: 8080, max_body_bytes: 67108864, pools: {llm: {upstreams: [{url: "http://vllm:8000"}], balance: prefix}}, models: [{name: "no", pool: llm}]}
keysSecretName: keys
imagePullSecrets: [{name: registry}]
nodeSelector: {kubernetes.io/arch: amd64}
tolerations: [{key: gpu, operator: Exists}]
ingress: {enabled: true, host: gateway.example.com, tlsSecretName: gateway-tls}
networkPolicy: {egress: [{ports: [{port: 53, protocol: UDP}]}]}
serviceMonitor: {enabled: true}
`

// Helm's own linter has nothing to say but that an icon is recommended.
func TestChartLint(t *testing.T) {
	for _, values := range []string{"", everything} {
		given := map[string]any{}
		if err := yaml.Unmarshal([]byte(values), &given); err != nil {
			t.Fatal(err)
		}
		for _, m := range lint.All(at("compose/kubernetes/chart"), given, "aigateway", true).Messages {
			if m.Severity > support.InfoSev {
				t.Errorf("%s: %v", m.Path, m.Err)
			}
		}
	}
}

// What the chart and kustomize's base both say, they say alike: the pod with its probes, its ports, its environment and its security, how
// many pods there are, and who may talk to them.
func TestChartIsTheBase(t *testing.T) {
	ours, theirs := build(t, chart), build(t, "../base")
	alike := func(what string, a, b any) {
		t.Helper()
		if !reflect.DeepEqual(a, b) {
			t.Errorf("%s:\nchart     %s\nkustomize %s", what, asJSON(a), asJSON(b))
		}
	}
	settings, others := ours.config(t), theirs.config(t)
	for name := range others { // the services of the demo are kustomize's alone
		if strings.HasSuffix(name, "_SERVICE_URL") {
			delete(others, name)
		}
	}
	alike("settings", settings, others)
	pod, other := ours.pods()["gateway"].Spec, theirs.pods()["gateway"].Spec
	c, o := &pod.Containers[0], &other.Containers[0]
	for _, one := range []*corev1.Container{c, o} { // where they have to differ
		one.Image, one.ImagePullPolicy, one.EnvFrom[0].ConfigMapRef.Name = "", "", ""
	}
	for _, one := range []*corev1.PodSpec{&pod, &other} {
		for i := range one.TopologySpreadConstraints {
			one.TopologySpreadConstraints[i].LabelSelector = nil
		}
	}
	alike("pod", pod, other)
	for _, kind := range []string{"HorizontalPodAutoscaler", "ServiceAccount"} {
		alike(kind, specOf(ours[kind]["gateway"]), specOf(theirs[kind]["gateway"]))
	}
	for _, name := range []string{"gateway", "gateway-admin"} {
		a, b := ours["Service"][name].(*corev1.Service).Spec, theirs["Service"][name].(*corev1.Service).Spec
		a.Selector, b.Selector = nil, nil
		alike("Service "+name, a, b)
	}
	policy := func(all objects) networkingv1.NetworkPolicySpec {
		return all["NetworkPolicy"]["gateway"].(*networkingv1.NetworkPolicy).Spec
	}
	alike("who may reach it", policy(ours).Ingress, policy(theirs).Ingress)
}

func specOf(object any) any {
	v := reflect.ValueOf(object).Elem()
	if spec := v.FieldByName("Spec"); spec.IsValid() {
		return spec.Interface()
	}
	return v.FieldByName("AutomountServiceAccountToken").Interface()
}

func asJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// All that can be turned on is what Kubernetes takes, and numbers come as they were written.
func TestChartWithEverything(t *testing.T) {
	all := install(t, []byte(everything))
	spec := all.pods()["gateway"].Spec
	c := spec.Containers[0]
	if c.Image != "registry.example/aigateway@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" {
		t.Error(c.Image)
	}
	data := all.config(t)
	for name, want := range map[string]string{
		"MAX_BODY_BYTES": "67108864", "ACCESS_LOG": "true", "ACCESS_LOG_SAMPLE": "0.1", "KEYS_FILE": "/etc/aigateway-keys/keys.yaml", "CACHE_BACKEND": "redis",
	} {
		if data[name] != want {
			t.Errorf("%s is %q", name, data[name])
		}
	}
	file := all["ConfigMap"]["gateway-file"].(*corev1.ConfigMap).Data["gateway.yaml"]
	if !strings.Contains(file, "max_body_bytes: 67108864\n") || !strings.Contains(file, `name: "no"`) {
		t.Error(file)
	}
	if len(c.VolumeMounts) != 2 || len(spec.Volumes) != 2 || *spec.Volumes[1].Secret.DefaultMode&0o004 != 0 || *spec.SecurityContext.FSGroup != 65532 ||
		!slices.Equal(c.Args, []string{"-config", "/etc/aigateway/gateway.yaml"}) {
		t.Errorf("%s", asJSON(spec))
	}
	for kind, name := range map[string]string{"Ingress": "gateway", "ServiceMonitor": "gateway", "NetworkPolicy": "gateway"} {
		if all[kind][name] == nil {
			t.Errorf("no %s", kind)
		}
	}
	if p := all["NetworkPolicy"]["gateway"].(*networkingv1.NetworkPolicy).Spec; len(p.PolicyTypes) != 2 || len(p.Egress) != 1 {
		t.Errorf("%s", asJSON(p))
	}
	if grace := *spec.TerminationGracePeriodSeconds; grace != 45 {
		t.Errorf("ends after %d s", grace)
	}
}

// Each recipe is a configuration file that the chart carries as it is.
func TestChartCarriesRecipes(t *testing.T) {
	files, err := filepath.Glob(at("compose/recipes/*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var recipe, carried map[string]any
		if err := yaml.Unmarshal(text, &recipe); err != nil {
			t.Fatal(err)
		}
		all := install(t, []byte("config: "+asJSON(recipe)))
		if err := yaml.Unmarshal([]byte(all["ConfigMap"]["gateway-file"].(*corev1.ConfigMap).Data["gateway.yaml"]), &carried); err != nil || !reflect.DeepEqual(recipe, carried) {
			t.Errorf("%s: %v, %s", file, err, asJSON(carried))
		}
	}
}

// Values that are wrong are refused before anything is installed, with where they stand.
func TestChartSchema(t *testing.T) {
	f := func(values, want string) {
		t.Helper()
		if _, err := render(values); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", values, err)
		}
	}
	f("replicas: 3", "'replicas'")
	f("settings: {CLIENT_RSP: 5}", "CLIENT_RSP")
	f("settings: {ADMIN_TOKEN: secret}", "ADMIN_TOKEN") // which belongs into the Secret
	f("settings: {SHUTDOWN_GRACE: 2m}", "SHUTDOWN_GRACE")
	f("settings: {CLIENT_RPS: [5]}", "CLIENT_RPS")
	f("image: {tag: 1.0}", "tag")
	f("image: {digest: 'sha256:0123'}", "digest")
	f("shutdownGraceSeconds: 30s", "shutdownGraceSeconds")
	f("autoscaling: {minReplicas: 1}", "minReplicas")
	f("secretName: ''", "secretName")
	f("ingress: {enabled: yes please}", "enabled")
	f("config: |\n  port: 8080", "config")
}

// The schema knows every setting but those that the chart sets itself, those that are secret, and those that name a file in the pod.
func TestChartSchemaKnowsTheSettings(t *testing.T) {
	var schema struct {
		Properties struct {
			Settings struct {
				Properties map[string]any
			}
		}
	}
	if err := json.Unmarshal([]byte(read(t, "compose/kubernetes/chart/values.schema.json")), &schema); err != nil {
		t.Fatal(err)
	}
	own := []string{"PORT", "SHUTDOWN_GRACE", "ADMIN_ADDR", "KEYS_FILE", "REDIS_PASSWORD", "REDIS_SENTINEL_PASSWORD", "ADMIN_TOKEN",
		"OTEL_EXPORTER_OTLP_HEADERS", "HANDOVER_SOCKET", "TLS_CERT_FILE", "TLS_KEY_FILE", "TLS_TICKET_KEYS_FILE", "REDIS_CA_FILE", "REDIS_CERT_FILE", "REDIS_KEY_FILE"}
	known := schema.Properties.Settings.Properties
	for _, name := range settings(t) {
		if _, ok := known[name]; ok == slices.Contains(own, name) {
			t.Errorf("%s: in the schema: %t", name, ok)
		}
		delete(known, name)
	}
	for name := range known {
		t.Errorf("%s is no setting", name)
	}
}
