package slacksim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"unicode/utf8"
)

// surface is where blocks are shown; it decides which blocks are allowed and how many.
type surface string

const (
	inMessage surface = "message"
	inModal   surface = "modal"
)

// blockKit checks blocks against https://docs.slack.dev/reference/block-kit and collects what is wrong.
type blockKit struct {
	surface  surface
	charts   bool
	problems []string
	blockIDs map[string]bool
	newID    func(prefix string) string
}

var errBlocksFormat = errors.New("the blocks are not a JSON array of objects")

// check reads, validates and completes an array of blocks. Problems are in k.problems; the error says that raw
// isn't an array of objects at all. base is the JSON pointer of the array.
func (k *blockKit) check(raw json.RawMessage, base string) ([]Block, error) {
	var list []map[string]any
	if err := decode(raw, &list); err != nil {
		return nil, fmt.Errorf("%w: %w", errBlocksFormat, err)
	}
	if slices.ContainsFunc(list, func(b map[string]any) bool { return b == nil }) {
		return nil, errBlocksFormat
	}
	k.blockIDs = map[string]bool{}
	most := 50
	if k.surface == inModal {
		most = 100
	}
	if len(list) > most {
		k.fail(base, "no more than %d items allowed", most)
		return nil, nil
	}
	for i, b := range list {
		k.block(b, fmt.Sprintf("%s/%d", base, i))
	}
	if len(k.problems) > 0 {
		return nil, nil
	}
	blocks := make([]Block, len(list))
	for i, b := range list {
		completed, err := json.Marshal(b)
		if err != nil {
			return nil, fmt.Errorf("complete block %d: %w", i, err)
		}
		blocks[i] = readBlock(completed)
	}
	return blocks, nil
}

// decode reads exactly one JSON value.
func decode(raw []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one JSON value")
	}
	return nil
}

func (k *blockKit) fail(pointer, format string, args ...any) {
	k.problems = append(k.problems, fmt.Sprintf(format, args...)+" [json-pointer:"+pointer+"]")
}

// object checks for required and for unknown properties.
func (k *blockKit) object(o map[string]any, at string, required, optional []string) {
	for _, name := range required {
		if v, ok := o[name]; !ok || v == nil {
			k.fail(at, "missing required field: %s", name)
		}
	}
	names := make([]string, 0, len(o))
	for name := range o {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if !slices.Contains(required, name) && !slices.Contains(optional, name) {
			k.fail(at, "invalid additional property: %s", name)
		}
	}
}

// str checks an optional string of most characters.
func (k *blockKit) str(o map[string]any, name, at string, most int) string {
	v, ok := o[name]
	if !ok || v == nil {
		return ""
	}
	text, ok := v.(string)
	if !ok {
		k.fail(at+"/"+name, "must be a string")
		return ""
	}
	if utf8.RuneCountInString(text) > most {
		k.fail(at+"/"+name, "must be less than %d characters", most+1)
	}
	return text
}

func (k *blockKit) address(o map[string]any, name, at string) {
	text := k.str(o, name, at, 3000)
	if text == "" {
		return
	}
	if u, err := url.Parse(text); err != nil || u.Scheme == "" || (u.Host == "" && u.Opaque == "") {
		k.fail(at+"/"+name, "must be a valid URL")
	}
}

func (k *blockKit) flag(o map[string]any, name, at string) {
	if v, ok := o[name]; ok {
		if _, is := v.(bool); !is {
			k.fail(at+"/"+name, "must be a boolean")
		}
	}
}

func (k *blockKit) oneOf(o map[string]any, name, at string, allowed ...string) {
	if v, ok := o[name]; ok {
		if text, is := v.(string); !is || !slices.Contains(allowed, text) {
			k.fail(at+"/"+name, "must be one of %q", allowed)
		}
	}
}

// text checks an optional text object of 1 to most characters. plain says that mrkdwn isn't allowed.
func (k *blockKit) text(o map[string]any, name, at string, most int, plain bool) {
	if v, ok := o[name]; ok && v != nil {
		k.textObject(v, at+"/"+name, most, plain)
	}
}

func (k *blockKit) textObject(v any, at string, most int, plain bool) {
	o, ok := v.(map[string]any)
	if !ok {
		k.fail(at, "must be an object")
		return
	}
	switch o["type"] {
	case "plain_text":
		k.object(o, at, []string{"type", "text"}, []string{"emoji"})
		k.flag(o, "emoji", at)
	case "mrkdwn":
		if plain {
			k.fail(at+"/type", "must be a plain_text object")
		}
		k.object(o, at, []string{"type", "text"}, []string{"verbatim"})
		k.flag(o, "verbatim", at)
	default:
		k.fail(at+"/type", "unsupported type: %v", o["type"])
	}
	if k.str(o, "text", at, most) == "" {
		k.fail(at+"/text", "must be more than 0 characters")
	}
}

// items reads an array of objects with one to most members; each gets its pointer.
func (k *blockKit) items(o map[string]any, name, at string, most int, each func(map[string]any, string)) {
	v, ok := o[name]
	if !ok || v == nil {
		return
	}
	list, ok := v.([]any)
	if !ok {
		k.fail(at+"/"+name, "must be an array")
		return
	}
	switch {
	case len(list) == 0:
		k.fail(at+"/"+name, "no fewer than 1 items allowed")
	case len(list) > most:
		k.fail(at+"/"+name, "no more than %d items allowed", most)
		return
	}
	for i, item := range list {
		pointer := fmt.Sprintf("%s/%s/%d", at, name, i)
		if object, is := item.(map[string]any); is {
			each(object, pointer)
		} else {
			k.fail(pointer, "must be an object")
		}
	}
}

// child checks an optional object.
func (k *blockKit) child(o map[string]any, name, at string, check func(map[string]any, string)) {
	v, ok := o[name]
	if !ok || v == nil {
		return
	}
	if object, is := v.(map[string]any); is {
		check(object, at+"/"+name)
	} else {
		k.fail(at+"/"+name, "must be an object")
	}
}

// blockFields are the properties of a block beside type and block_id; ok is false for a kind that isn't known.
func blockFields(kind string) (required, optional []string, ok bool) {
	switch kind {
	case "actions", "context", "context_actions", "rich_text":
		return []string{"elements"}, nil, true
	case "divider":
		return nil, nil, true
	case "file":
		return []string{"external_id", "source"}, nil, true
	case "header":
		return []string{"text"}, []string{"level"}, true
	case "image":
		return []string{"alt_text"}, []string{"image_url", "slack_file", "title"}, true
	case "input":
		return []string{"label", "element"}, []string{"hint", "optional", "dispatch_action"}, true
	case "markdown":
		return []string{"text"}, nil, true
	case "section":
		return nil, []string{"text", "fields", "accessory", "expand"}, true
	case "table":
		return []string{"rows"}, []string{"column_settings"}, true
	case "video":
		return []string{"alt_text", "title", "thumbnail_url", "video_url"},
			[]string{"author_name", "description", "provider_icon_url", "provider_name", "title_url"}, true
	case "data_visualization":
		return []string{"title", "chart"}, nil, true
	}
	return nil, nil, false
}

func (k *blockKit) allowed(kind string) bool {
	switch kind {
	case "file", "table", "context_actions":
		return k.surface == inMessage
	case "data_visualization":
		return k.surface == inMessage && k.charts
	}
	return true
}

func (k *blockKit) block(b map[string]any, at string) {
	kind, _ := b["type"].(string)
	if b["type"] == nil {
		k.fail(at, "missing required field: type")
		return
	}
	required, optional, known := blockFields(kind)
	if !known || !k.allowed(kind) {
		k.fail(at+"/type", "unsupported type: %v", b["type"])
		return
	}
	k.object(b, at, append([]string{"type"}, required...), append([]string{"block_id"}, optional...))
	id := k.str(b, "block_id", at, 255)
	if id == "" {
		id = k.newID("b")
		b["block_id"] = id
	}
	if k.blockIDs[id] {
		k.fail(at+"/block_id", "`block_id` %q already exists", id)
	}
	k.blockIDs[id] = true
	k.blockBody(kind, b, at)
}

func (k *blockKit) blockBody(kind string, b map[string]any, at string) {
	actionIDs := map[string]bool{}
	switch kind {
	case "section":
		if b["text"] == nil && b["fields"] == nil {
			k.fail(at, "must define either `text` or `fields`")
		}
		k.flag(b, "expand", at)
		k.text(b, "text", at, 3000, false)
		k.items(b, "fields", at, 10, func(o map[string]any, at string) { k.textObject(o, at, 2000, false) })
		k.child(b, "accessory", at, func(o map[string]any, at string) { k.element(o, at, asAccessory, actionIDs) })
	case "actions":
		k.items(b, "elements", at, 25, func(o map[string]any, at string) { k.element(o, at, asAction, actionIDs) })
	case "context":
		k.items(b, "elements", at, 10, func(o map[string]any, at string) {
			if o["type"] == "image" {
				k.element(o, at, asAccessory, actionIDs)
			} else {
				k.textObject(o, at, 3000, false)
			}
		})
	case "header":
		k.text(b, "text", at, 150, true)
	case "input":
		k.text(b, "label", at, 2000, true)
		k.text(b, "hint", at, 2000, true)
		k.flag(b, "optional", at)
		k.flag(b, "dispatch_action", at)
		k.child(b, "element", at, func(o map[string]any, at string) { k.element(o, at, asInput, actionIDs) })
	case "image":
		if (b["image_url"] == nil) == (b["slack_file"] == nil) {
			k.fail(at, "must define either `image_url` or `slack_file`")
		}
		k.address(b, "image_url", at)
		k.str(b, "alt_text", at, 2000)
		k.text(b, "title", at, 2000, true)
	case "markdown":
		k.str(b, "text", at, 12000)
	case "data_visualization":
		k.chart(b, at)
	}
}
