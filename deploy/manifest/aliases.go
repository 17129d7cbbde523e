package manifest

import (
	"bytes"
	"errors"
	"io"
	"regexp"

	kyaml "sigs.k8s.io/kustomize/kyaml/yaml"
	"sigs.k8s.io/yaml"
)

var (
	yamlAnchor = regexp.MustCompile(`&[^\s,\[\]{}]`)
	yamlAlias  = regexp.MustCompile(`\*[^\s,\[\]{}"'*]`)

	errUnfolds = errors.New("aliases make too much")
)

// hasAliases tells whether a text may have an alias. It may be wrong about one that has none.
func hasAliases(text []byte) bool { return yamlAnchor.Match(text) && yamlAlias.Match(text) }

// toJSON converts a YAML document. What aliases make of it counts, for all documents together: the converter would write it
// out, however much that is.
func (r *reader) toJSON(text []byte) ([]byte, error) {
	if err := r.unfold(text); err != nil {
		return nil, err
	}
	return yaml.YAMLToJSONStrict(text)
}

// unfold counts what aliases make of the documents of a text, before somebody writes that out. Its error is of the YAML
// parser, or errUnfolds.
func (r *reader) unfold(text []byte) error {
	size, err := unfolded(text, r.limits.Bytes-r.unfolds)
	r.unfolds += size
	return err
}

// unfolded is how many bytes YAML that has aliases becomes with all of them written out, 0 for one that has none.
func unfolded(text []byte, most int64) (int64, error) {
	if !hasAliases(text) {
		return 0, nil
	}
	u := unfolding{most: most, sizes: map[*kyaml.Node]int64{}}
	decoder := kyaml.NewDecoder(bytes.NewReader(text))
	for sum := int64(0); ; {
		var document kyaml.Node
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			return sum, nil
		}
		if err != nil {
			return sum, err
		}
		if sum += u.size(&document); sum > most {
			return sum, errUnfolds
		}
	}
}

type unfolding struct {
	most  int64
	sizes map[*kyaml.Node]int64 // of what has an anchor; too much while that is counted, for it may hold itself
}

func (u *unfolding) size(n *kyaml.Node) int64 {
	const each = 8 // bytes that a node takes besides its text, at least
	if n.Kind == kyaml.AliasNode {
		n = n.Alias
	}
	if size, known := u.sizes[n]; known {
		return size
	}
	if n.Anchor != "" {
		u.sizes[n] = u.most + 1
	}
	size := each + int64(len(n.Value))
	for _, item := range n.Content {
		if size += u.size(item); size > u.most {
			return u.most + 1
		}
	}
	if n.Anchor != "" {
		u.sizes[n] = size
	}
	return size
}
