package registry

import (
	"fmt"
	"maps"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// defaultJob also gives a Job without labels those of its template, which the real server does for Jobs alone.
func defaultJob(j *batchv1.Job) {
	if len(j.Labels) == 0 && len(j.Spec.Template.Labels) > 0 {
		j.Labels = maps.Clone(j.Spec.Template.Labels)
	}
	defaultJobSpec(&j.Spec)
}

func defaultJobSpec(s *batchv1.JobSpec) {
	if s.Completions == nil && s.Parallelism == nil {
		fill(&s.Completions, 1)
	}
	fill(&s.Parallelism, 1)
	fill(&s.BackoffLimit, 6)
	fill(&s.CompletionMode, batchv1.NonIndexedCompletion)
	fill(&s.Suspend, false)
	fill(&s.ManualSelector, false)
	fill(&s.PodReplacementPolicy, batchv1.TerminatingOrFailed)
	defaultPodSpec(&s.Template.Spec)
}

// prepareJob gives a Job the selector that only its own pods match.
func prepareJob(obj Object) {
	j, ok := obj.(*batchv1.Job)
	if !ok || (j.Spec.ManualSelector != nil && *j.Spec.ManualSelector) {
		return
	}
	if j.Spec.Template.Labels == nil {
		j.Spec.Template.Labels = map[string]string{}
	}
	for _, l := range []string{"controller-uid", batchv1.ControllerUidLabel} {
		j.Spec.Template.Labels[l] = string(j.UID)
	}
	for _, l := range []string{"job-name", batchv1.JobNameLabel} {
		j.Spec.Template.Labels[l] = j.Name
	}
	j.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{batchv1.ControllerUidLabel: string(j.UID)}}
}

func validateJob(j *batchv1.Job, live Object, spec *field.Path) field.ErrorList {
	at := spec.Child("template")
	errs := validatePodSpec(&j.Spec.Template.Spec, at.Child("spec"))
	if j.Spec.Template.Spec.RestartPolicy == corev1.RestartPolicyAlways {
		errs = append(errs, field.Required(at.Child("spec", "restartPolicy"),
			fmt.Sprintf("valid values: %q, %q", corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)))
	}
	for name, n := range map[string]*int32{
		"completions": j.Spec.Completions, "parallelism": j.Spec.Parallelism, "backoffLimit": j.Spec.BackoffLimit,
		"ttlSecondsAfterFinished": j.Spec.TTLSecondsAfterFinished,
	} {
		if n != nil {
			errs = append(errs, validation.ValidateNonnegativeField(int64(*n), spec.Child(name))...)
		}
	}
	if n := j.Spec.ActiveDeadlineSeconds; n != nil {
		errs = append(errs, validation.ValidateNonnegativeField(*n, spec.Child("activeDeadlineSeconds"))...)
	}
	if before, ok := live.(*batchv1.Job); ok {
		errs = append(errs, validation.ValidateImmutableField(j.Spec.Selector, before.Spec.Selector, spec.Child("selector"))...)
		errs = append(errs, validation.ValidateImmutableField(j.Spec.Template, before.Spec.Template, at)...)
		errs = append(errs, validation.ValidateImmutableField(j.Spec.Completions, before.Spec.Completions, spec.Child("completions"))...)
		errs = append(errs, validation.ValidateImmutableField(j.Spec.CompletionMode, before.Spec.CompletionMode, spec.Child("completionMode"))...)
	}
	return errs
}
