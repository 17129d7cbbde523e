package manifest

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// eachContainer calls do with every container of the object's pod specs, wherever a custom resource keeps them.
func eachContainer(o Object, do func(map[string]any)) {
	if spec, ok := o.Object["spec"]; ok {
		walkContainers(spec, do)
	}
}

func walkContainers(node any, do func(map[string]any)) {
	switch n := node.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(n)) {
			list, ok := n[key].([]any)
			if !ok || key != "containers" && key != "initContainers" && key != "ephemeralContainers" {
				walkContainers(n[key], do)
				continue
			}
			for _, item := range list {
				if c, ok := item.(map[string]any); ok {
					do(c)
				}
			}
		}
	case []any:
		for _, item := range n {
			walkContainers(item, do)
		}
	}
}

// ImageName is an image's name without its tag and digest: "registry.example.com:5000/shop".
func ImageName(image string) string {
	name, _, _ := strings.Cut(image, "@")
	if colon := strings.LastIndex(name, ":"); colon > strings.LastIndex(name, "/") {
		name = name[:colon]
	}
	return name
}

// ImageDigest is the digest that an image is pinned to, "" if it isn't.
func ImageDigest(image string) string {
	_, digest, _ := strings.Cut(image, "@")
	return digest
}

// PinImages adds digests to the images that the map names.
func (s Set) PinImages(digests map[string]string) {
	for _, o := range s.Objects {
		eachContainer(o, func(c map[string]any) {
			image, _ := c["image"].(string)
			if digest := digests[image]; digest != "" {
				c["image"] = image + "@" + digest
			}
		})
	}
}

// setImages replaces the images that are named. values maps an image's name to a tag, a digest or a full reference.
func setImages(objects []Object, values map[string]string) error {
	if len(values) == 0 {
		return nil
	}
	targets := map[string]string{}
	for name, value := range values {
		target, err := targetImage(name, value)
		if err != nil {
			return err
		}
		targets[name] = target
	}
	used, found := map[string]bool{}, map[string]bool{}
	for _, o := range objects {
		eachContainer(o, func(c map[string]any) {
			image, _ := c["image"].(string)
			name := ImageName(image)
			if name == "" {
				return
			}
			found[name] = true
			if target, ok := targets[name]; ok {
				c["image"], used[name] = target, true
			}
		})
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if !used[name] {
			return &Error{What: fmt.Sprintf("images names %s, which no container uses", clip(name)), Hint: foundImages(found)}
		}
	}
	return nil
}

// targetImage is the reference that replaces the image of that name.
func targetImage(name, value string) (string, error) {
	if name == "" || ImageName(name) != name {
		return "", &Error{What: fmt.Sprintf("images names %q", clip(name)), Hint: "write the image's name without tag and digest"}
	}
	const digest = `sha256:[0-9a-f]{64}`
	var (
		isTag    = regexp.MustCompile(`^\w[\w.-]{0,127}$`).MatchString
		isDigest = regexp.MustCompile(`^` + digest + `$`).MatchString
		isFull   = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._:/-]{0,400}(@` + digest + `)?$`).MatchString
	)
	switch {
	case value == "":
		return "", &Error{What: fmt.Sprintf("images sets nothing for %s", clip(name)), Hint: "write a tag, a digest (sha256:…) or a full reference"}
	case strings.HasPrefix(value, "sha256:"):
		if isDigest(value) {
			return name + "@" + value, nil
		}
	case isTag(value):
		return name + ":" + value, nil
	case isFull(value) && !strings.HasSuffix(value, ":") && !strings.HasSuffix(value, "/"):
		return value, nil
	}
	return "", &Error{
		What: fmt.Sprintf("images sets %q for %s, which is not an image", clip(value), clip(name)),
		Hint: "write a tag, a digest (sha256: and 64 hexadecimal digits) or a full reference",
	}
}

func foundImages(found map[string]bool) string {
	names := slices.Sorted(maps.Keys(found))
	if len(names) == 0 {
		return "the manifests have no containers"
	}
	const shown = 8
	if len(names) > shown {
		names = append(names[:shown], fmt.Sprintf("and %d more", len(found)-shown))
	}
	return "the manifests use " + clip(strings.Join(names, ", "))
}

// clip bounds text that goes into an error.
func clip(s string) string {
	const limit = 300
	runes := []rune(s)
	if len(runes) <= limit {
		return s
	}
	return string(runes[:limit]) + "…"
}
