package deploy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
)

// The labels and annotations on the metadata of every object that Slipway applies. But for LabelVersion, and the
// labels of a pair, they are on no selector and in no pod template, where they would restart pods for nothing.
const (
	LabelManagedBy   = "app.kubernetes.io/managed-by"
	LabelProject     = "slipway.dev/project"     // GitLab's id
	LabelEnvironment = "slipway.dev/environment" // its name, shortened where a label can't hold it

	AnnotationEnvironment = "slipway.dev/environment-name"
	AnnotationDelivery    = "slipway.dev/delivery"
	AnnotationRelease     = "slipway.dev/release"
	AnnotationCommit      = "slipway.dev/commit" // sha

	// LabelVersion tells the Deployments and pods of one blue-green release from another's. Services select by it.
	LabelVersion = "slipway.dev/version"
	// LabelTrack is the role of a blue-green Deployment: TrackStable or TrackStandby. It is only on the Deployment
	// itself, so that no pod restarts when the role changes. The Deployments of a canary stage, and their pods, have
	// TrackBaseline or TrackCanary from their beginning to their end.
	LabelTrack    = "slipway.dev/track"
	TrackStable   = "stable"  // it has the traffic
	TrackStandby  = "standby" // it had it, and is ready to take it back
	TrackBaseline = "baseline"
	TrackCanary   = "canary"

	// LabelPair tells the pair of one attempt of one canary stage from all others. It is on everything of the pair, and
	// on nothing else.
	LabelPair = "slipway.dev/pair"
	// LabelWorkload is on the pods of a pair: which Deployment of the manifests they are of.
	LabelWorkload = "slipway.dev/workload"
	// AnnotationParts is on each Deployment of a pair, and lists what else is the pair's.
	AnnotationParts = "slipway.dev/pair-parts"
	// AnnotationWeights is on an HTTPRoute while a pair has a share of its traffic: what the weights were before.
	AnnotationWeights = "slipway.dev/pair-weights"

	// AnnotationReplaces is on a Service that a blue-green release takes over, and names the Deployment that was behind it
	// until then, with the hash of its pods: "shop/5d7c9f".
	AnnotationReplaces = "slipway.dev/replaces"

	// Manager is the field manager, and the value of LabelManagedBy.
	Manager = "slipway"
)

// Owner is whose an object is.
type Owner struct {
	Project     int64
	Environment string
	Delivery    string
	Release     string
	SHA         string
}

// Labels tell Slipway's objects of one environment from all others.
func (o Owner) Labels() map[string]string {
	return map[string]string{
		LabelManagedBy:   Manager,
		LabelProject:     strconv.FormatInt(o.Project, 10),
		LabelEnvironment: labelValue(o.Environment),
	}
}

func (o Owner) annotations() map[string]string {
	return map[string]string{
		AnnotationEnvironment: o.Environment,
		AnnotationDelivery:    o.Delivery,
		AnnotationRelease:     o.Release,
		AnnotationCommit:      o.SHA,
	}
}

// stamp returns copies of the objects that carry the owner's marks and the namespace.
func stamp(objects []manifest.Object, owner Owner, namespace string) []manifest.Object {
	stamped := make([]manifest.Object, len(objects))
	for i, o := range objects {
		c := manifest.Object{Unstructured: o.DeepCopy(), From: o.From}
		if !c.DefinesKind() {
			c.SetNamespace(namespace)
		}
		c.SetLabels(merged(c.GetLabels(), owner.Labels()))
		c.SetAnnotations(merged(c.GetAnnotations(), owner.annotations()))
		stamped[i] = c
	}
	return stamped
}

func merged(under, over map[string]string) map[string]string {
	if under == nil {
		under = map[string]string{}
	}
	for k, v := range over {
		under[k] = v
	}
	return under
}

// Stranger says, in words, who else than the owner of the labels has delivered an object which is there: another GitLab
// project, or another environment of this one. "" if it is the same, or nobody.
func Stranger(mine map[string]string, live *unstructured.Unstructured) string {
	its := live.GetLabels()
	switch {
	case its[LabelManagedBy] != Manager:
		return ""
	case its[LabelProject] != "" && its[LabelProject] != mine[LabelProject]:
		return "by the GitLab project with the number " + clean(its[LabelProject], 20)
	case its[LabelEnvironment] != "" && its[LabelEnvironment] != mine[LabelEnvironment] && !(manifest.Object{Unstructured: live}).DefinesKind():
		return "to environment " + clean(its[LabelEnvironment], 63) + " of this project"
	}
	return ""
}

func (o Owner) stranger(live *unstructured.Unstructured) string { return Stranger(o.Labels(), live) }

// labelValue is the text itself where a label may hold it, and else its letters and digits with a hash.
func labelValue(text string) string {
	if len(validation.IsValidLabelValue(text)) == 0 && text != "" {
		return text
	}
	slug := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '-'
	}, text)
	sum := sha256.Sum256([]byte(text))
	return strings.TrimLeft(fmt.Sprintf("%s-%s", slug[:min(len(slug), 50)], hex.EncodeToString(sum[:4])), "-")
}
