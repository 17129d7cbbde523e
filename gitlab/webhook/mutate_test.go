package webhook

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
)

// mutate removes or retypes up to four random values below the root, and returns the changed document.
func mutate(r *rand.Rand, body []byte) []byte {
	var doc map[string]any
	if err := json.Unmarshal(body, &doc); err != nil {
		return body
	}
	for range 1 + r.IntN(4) {
		mutateOne(r, doc)
	}
	out, err := json.Marshal(doc)
	if err != nil {
		return body
	}
	return out
}

func mutateOne(r *rand.Rand, node map[string]any) {
	for len(node) > 0 {
		keys := make([]string, 0, len(node))
		for k := range node {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		key := keys[r.IntN(len(keys))]
		child, isObject := node[key].(map[string]any)
		if isObject && len(child) > 0 && r.IntN(4) > 0 {
			node = child
			continue
		}
		if r.IntN(3) == 0 {
			delete(node, key)
		} else {
			node[key] = odd(r)
		}
		return
	}
}

func odd(r *rand.Rand) any {
	values := []any{
		nil, true, -1, 0, 1.5, 1e300, "", "text", "\x00", []any{}, []any{1, "a"},
		map[string]any{}, map[string]any{"id": "7"}, map[string]any{"name": 7}, json.RawMessage("123456789012345678901234567890"),
	}
	return values[r.IntN(len(values))]
}

// complete says why a hook breaks the promises of its type, or nothing.
func complete(h Hook) string {
	switch h := h.(type) {
	case MergeRequest:
		if h.Project.ID <= 0 || h.IID <= 0 || h.Action == "" || (h.Action == ActionMerge) != (h.MergeSHA != "") {
			return fmt.Sprintf("%+v", h)
		}
	case Pipeline:
		if h.Project.ID <= 0 || h.ID <= 0 || h.SHA == "" || h.Ref == "" || h.Status == "" {
			return fmt.Sprintf("%+v", h)
		}
	case Job:
		if h.Project.ID <= 0 || h.ID <= 0 || h.Name == "" || h.Status == "" || h.PipelineID <= 0 {
			return fmt.Sprintf("%+v", h)
		}
	case Note:
		if h.Project.ID <= 0 || h.ID <= 0 || h.AuthorID <= 0 || h.MergeRequestIID <= 0 || len(h.Body) > MaxNoteBytes {
			return fmt.Sprintf("%+v", h)
		}
	case Deployment:
		if h.Project.ID <= 0 || h.ID <= 0 || h.Status == "" || h.Environment == "" {
			return fmt.Sprintf("%+v", h)
		}
	case Ignored:
		if h.Of == "" || h.Reason == "" {
			return fmt.Sprintf("%+v", h)
		}
	default:
		return fmt.Sprintf("unknown type %T", h)
	}
	return ""
}

func TestEveryPayloadIsAcceptedAlsoDamaged(t *testing.T) {
	kinds := map[Kind]int{}
	for file, body := range corpus(t) {
		r := rand.New(rand.NewPCG(uint64(len(file)), uint64(len(body))))
		for i := range 80 {
			doc := body
			if i > 0 {
				doc = mutate(r, body)
			}
			hook, err := Parse(http.Header{"X-Gitlab-Event": {"System Hook"}}, doc)
			if err != nil {
				t.Fatalf("%s, mutation %d: %v\n%s", file, i, err, doc)
			}
			if why := complete(hook); why != "" {
				t.Fatalf("%s, mutation %d: the hook is not complete: %s", file, i, why)
			}
			if _, ignored := hook.(Ignored); !ignored {
				kinds[hook.Kind()]++
			}
		}
	}
	for _, kind := range []Kind{KindMergeRequest, KindPipeline, KindJob, KindNote, KindDeployment} {
		if kinds[kind] < 20 {
			t.Errorf("only %d hooks of kind %s survived: the mutations prove little", kinds[kind], kind)
		}
	}
}

// FuzzDamagedPayload damages the payloads of the corpus in ways that stay JSON.
func FuzzDamagedPayload(f *testing.F) {
	files := corpus(f)
	names := make([]string, 0, len(files))
	for file := range files {
		names = append(names, file)
	}
	slices.Sort(names)
	for i := range names {
		f.Add(uint16(i), uint64(1))
	}
	f.Fuzz(func(t *testing.T, which uint16, seed uint64) {
		doc := mutate(rand.New(rand.NewPCG(seed, 0)), files[names[int(which)%len(names)]])
		hook, err := Parse(nil, doc)
		if err != nil {
			t.Fatalf("%v\n%s", err, doc)
		}
		if why := complete(hook); why != "" {
			t.Fatalf("the hook is not complete: %s", why)
		}
	})
}

// FuzzParse feeds anything: no panic, and whatever is accepted keeps the promises of its type.
func FuzzParse(f *testing.F) {
	f.Add("Note Hook", []byte(`{"object_kind":"note"}`))
	f.Add("System Hook", []byte(`{"object_kind":"merge_request","project":{"id":7},"object_attributes":{"iid":3,"action":"merge"}}`))
	f.Add("", []byte(`{"a":[[[["\\\""]]]]}`))
	f.Fuzz(func(t *testing.T, event string, body []byte) {
		header := http.Header{"X-Gitlab-Event": {event}}
		hook, err := Parse(header, body)
		if err == nil {
			if why := complete(hook); why != "" {
				t.Fatalf("the hook is not complete: %s", why)
			}
		}
		if key := DeliveryKey(header, body); key == "" || len(key) > 260 {
			t.Fatalf("delivery key %q", key)
		}
	})
}
