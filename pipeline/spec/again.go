package spec

import (
	"fmt"
	"maps"
	"reflect"
	"time"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// CompileCanary makes a plan of one canary stage alone, by its place in f.Stages, as if it judged from one time to another:
// they are its From and To if it has these, and else the lifetime is what is between them. Nothing of it is deployed, so
// there are no rules to hold it against, and what the other stages are is all the same. Its queries know of in only what
// is set. The plan is nil if there are problems.
func CompileCanary(f *File, in Input, defaults Defaults, stage int, from, to time.Time) (*pipeline.Plan, []pipeline.Problem) {
	l := f.mergeLane()
	at, k := l.at(stage)+".canary", *l.stages[stage].Canary
	c := &compiler{f: f, in: in, problems: &problems{file: f.name}, vars: known(in, string(f.Application)), lane: l, defaults: defaults}
	times := at + c.f.keyOf(at, "lifetime", "to", "interval")
	if to.Sub(from) > maxCanaryLifetime {
		c.add(times, "30d is the most that is judged at once", "")
		return nil, c.problems.told()
	}
	if k.past() {
		k.From, k.To = Moment(from.UTC().Format(time.RFC3339Nano)), Moment(to.UTC().Format(time.RFC3339Nano))
	} else {
		k.Lifetime = Duration(fmt.Sprintf("%ds", to.Sub(from)/time.Second)) // for its bounds
	}
	if k.looks() > maxLooks {
		c.add(times, fmt.Sprintf("there would be more than %d looks", maxLooks), "")
		return nil, c.problems.told()
	}
	if metrics, ok := c.filled(at+".metrics", reflect.ValueOf(k.Metrics)).Interface().([]CanaryMetric); ok {
		k.Metrics = metrics
	}
	canary := c.canary(at, &k)
	if len(c.problems.list) > 0 {
		return nil, c.problems.told()
	}
	if !k.past() {
		canary.Lifetime = to.Sub(from)
	}
	return &pipeline.Plan{
		Schema: pipeline.PlanSchema, Application: string(f.Application), Project: in.Project, Commit: in.Commit, MergeRequest: in.MergeRequest,
		Stages: []pipeline.Stage{{Name: string(f.Stages[stage].Name), Kind: pipeline.KindCanary, Canary: canary}},
	}, nil
}

// known are the variables of a commit without what is not set.
func known(in Input, application string) map[string]any {
	vars := variables(in, application, nil)
	for name, set := range map[string]bool{"project": in.Project.Path != "", "commit": in.Commit.SHA != "", "merge_request": in.MergeRequest.IID != 0} {
		fields, ok := vars[name].(map[string]any)
		if !ok || !set {
			delete(vars, name)
			continue
		}
		maps.DeleteFunc(fields, func(_ string, value any) bool { return value == "" || value == int64(0) })
	}
	return vars
}
