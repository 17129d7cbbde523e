package pipeline_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// TestStoredForms holds the stored form of everything that is kept against
// testdata/stored: a field that is renamed or lost turns it red, because files that
// were written before could not be read any more.
func TestStoredForms(t *testing.T) {
	golden(t, "delivery", filled[pipeline.Delivery]())
	golden(t, "environment", filled[pipeline.Environment]())
	golden(t, "plan", filled[pipeline.Plan]())
	for _, e := range allEvents() {
		fill(reflect.ValueOf(e), 0)
		golden(t, "event-"+e.EventKind(), e)
	}
	for _, a := range allActions() {
		fill(reflect.ValueOf(a), 0)
		golden(t, "action-"+a.ActionKind(), a)
	}
}

// TestEveryKindDecodes gives back what was encoded, for every event and action.
func TestEveryKindDecodes(t *testing.T) {
	for _, e := range allEvents() {
		fill(reflect.ValueOf(e), 0)
		kind, data, err := pipeline.EncodeEvent(e)
		if err != nil {
			t.Fatal(err)
		}
		back, err := pipeline.DecodeEvent(kind, data)
		if err != nil {
			t.Errorf("event %s: %v", kind, err)
			continue
		}
		if diff := cmp.Diff(reflect.ValueOf(e).Elem().Interface(), any(back)); diff != "" {
			t.Errorf("event %s (-encoded +decoded):\n%s", kind, diff)
		}
	}
	for _, a := range allActions() {
		fill(reflect.ValueOf(a), 0)
		kind, data, err := pipeline.EncodeAction(a)
		if err != nil {
			t.Fatal(err)
		}
		switch a.(type) {
		case *pipeline.Send, *pipeline.Withdraw: // carried out within the commit, never stored
			if _, err := pipeline.DecodeAction(kind, data); err == nil {
				t.Errorf("action %s decodes, and is never stored", kind)
			}
			continue
		}
		back, err := pipeline.DecodeAction(kind, data)
		if err != nil {
			t.Errorf("action %s: %v", kind, err)
			continue
		}
		if diff := cmp.Diff(reflect.ValueOf(a).Elem().Interface(), any(back)); diff != "" {
			t.Errorf("action %s (-encoded +decoded):\n%s", kind, diff)
		}
	}
}

func TestNewerStoredFormsAreRefused(t *testing.T) {
	if _, err := pipeline.DecodeDelivery(fmt.Appendf(nil, `{"schema": %d}`, pipeline.DeliverySchema+1)); err == nil {
		t.Error("a delivery of a newer schema was read")
	}
	if _, err := pipeline.DecodeEnvironment(fmt.Appendf(nil, `{"schema": %d}`, pipeline.EnvironmentSchema+1)); err == nil {
		t.Error("an environment of a newer schema was read")
	}
	if _, err := pipeline.DecodeEvent("of-tomorrow", []byte("{}")); err == nil {
		t.Error("an event of an unknown kind was read")
	}
	if _, err := pipeline.DecodeAction("of-tomorrow", []byte("{}")); err == nil {
		t.Error("an action of an unknown kind was read")
	}
	if _, err := pipeline.DecodeEvent("merged", []byte("{")); err == nil {
		t.Error("a broken event was read")
	}
}

func golden(t *testing.T, name string, v any) {
	t.Helper()
	got, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	file := filepath.Join("testdata", "stored", name+".json")
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Errorf("%v; run with -update", err)
		return
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s: what is stored already could not be read (-stored +now):\n%s", name, diff)
	}
	back := reflect.New(reflect.TypeOf(v).Elem())
	if err := json.Unmarshal(want, back.Interface()); err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	again, err := json.MarshalIndent(back.Interface(), "", "  ")
	if err != nil || !bytes.Equal(append(again, '\n'), want) {
		t.Errorf("%s does not come back as it was (%v):\n%s", name, err, cmp.Diff(string(want), string(again)))
	}
}

// filled is a value with something in every field.
func filled[T any]() *T {
	v := new(T)
	fill(reflect.ValueOf(v), 0)
	return v
}

// fill puts something in everything that it reaches. Numbers differ from each other by
// depth only; the names of the fields are what matters.
func fill(v reflect.Value, depth int) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		fill(v.Elem(), depth)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Date(2026, 3, 2, 9, 0, depth, 0, time.UTC)))
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i), depth+1)
		}
	case reflect.Slice:
		switch {
		case v.Type() == reflect.TypeFor[json.RawMessage]():
			v.SetBytes([]byte(`{}`))
		default:
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
			fill(v.Index(0), depth+1)
		}
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, depth+1)
		fill(value, depth+1)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.String:
		v.SetString("words")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(int64(depth + 1))
	case reflect.Float64:
		v.SetFloat(float64(depth) + 0.5)
	default:
		panic("stored forms hold no " + v.Kind().String())
	}
}

func allEvents() []pipeline.Event {
	return []pipeline.Event{
		&pipeline.Merged{}, &pipeline.CIChanged{}, &pipeline.CISeen{}, &pipeline.JobChanged{}, &pipeline.Requested{},
		&pipeline.RollbackStarted{}, &pipeline.Tick{}, &pipeline.Planned{}, &pipeline.PlanRefused{}, &pipeline.Evaluated{},
		&pipeline.Identified{}, &pipeline.Applied{}, &pipeline.RolledOut{}, &pipeline.Restored{}, &pipeline.Progressed{},
		&pipeline.JobSeen{}, &pipeline.Failed{}, &pipeline.Delayed{}, &pipeline.NoteWritten{}, &pipeline.MessageSent{},
		&pipeline.DeploymentWritten{}, &pipeline.Enrolled{}, &pipeline.LockWanted{}, &pipeline.LockReturned{},
		&pipeline.Departed{}, &pipeline.LockGranted{}, &pipeline.LockQueued{}, &pipeline.Superseded{},
		&pipeline.Switched{}, &pipeline.Retired{}, &pipeline.JobStarted{}, &pipeline.JobRan{}, &pipeline.JobStopped{}, &pipeline.Checked{}, &pipeline.PipelineSeen{},
		&pipeline.NoticeSent{}, &pipeline.KeepEnded{}, &pipeline.Replaced{}, &pipeline.Proposed{}, &pipeline.Closed{}, &pipeline.TearDownStarted{},
		&pipeline.MergeRequestSeen{}, &pipeline.TornDown{}, &pipeline.Paired{}, &pipeline.PairUnwell{}, &pipeline.Weighed{}, &pipeline.Sampled{}, &pipeline.PairEnded{}, &pipeline.ChartDrawn{},
	}
}

func allActions() []pipeline.Action {
	return []pipeline.Action{
		&pipeline.LoadPlan{}, &pipeline.LookAtCI{}, &pipeline.Evaluate{}, &pipeline.Identify{}, &pipeline.Apply{},
		&pipeline.Observe{}, &pipeline.Restore{}, &pipeline.PlayJob{}, &pipeline.LookAtJob{}, &pipeline.StartRollback{},
		&pipeline.WriteNote{}, &pipeline.WriteMessage{}, &pipeline.Ask{}, &pipeline.WriteStatus{}, &pipeline.WriteDeployment{},
		&pipeline.Answer{}, &pipeline.Send{}, &pipeline.Withdraw{}, &pipeline.Switch{}, &pipeline.Retire{}, &pipeline.Remove{},
		&pipeline.RunJob{}, &pipeline.WatchJob{}, &pipeline.StopJob{}, &pipeline.RunCheck{}, &pipeline.StartPipeline{}, &pipeline.LookAtPipeline{},
		&pipeline.SendNotice{}, &pipeline.LookAtMergeRequest{}, &pipeline.StartTearDown{}, &pipeline.TearDown{}, &pipeline.StopEnvironment{},
		&pipeline.StartPair{}, &pipeline.WatchPair{}, &pipeline.WeighPair{}, &pipeline.Measure{}, &pipeline.EndPair{}, &pipeline.DrawChart{},
	}
}

// TestAllKindsAreListed reads the package's own source, so that a new kind is not forgotten above.
func TestAllKindsAreListed(t *testing.T) {
	for file, listed := range map[string]map[string]bool{"event.go": names(allEvents()), "effect.go": names(allActions())} {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range kindMethod.FindAllSubmatch(source, -1) {
			if !listed[string(m[1])] {
				t.Errorf("%s: %s is in no list of this test", file, m[1])
			}
		}
	}
}

func names[T any](values []T) map[string]bool {
	found := map[string]bool{}
	for _, v := range values {
		found[reflect.TypeOf(v).Elem().Name()] = true
	}
	return found
}

var kindMethod = regexp.MustCompile(`(?m)^func \((\w+)\) (?:Event|Action)Kind\(\)`)
