package slacksim

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// position is where in a block an element stands; it decides which kinds are allowed.
type position int

const (
	asAction position = iota
	asAccessory
	asInput
)

// elementFields are the properties of an element beside type and action_id; ok is false for a kind that isn't known.
func elementFields(kind string) (required, optional []string, ok bool) {
	shared := []string{"placeholder", "confirm", "focus_on_load"}
	switch kind {
	case "button":
		return []string{"text"}, []string{"value", "url", "style", "confirm", "accessibility_label", "visible_to_user_ids"}, true
	case "image":
		return []string{"alt_text"}, []string{"image_url", "slack_file"}, true
	case "overflow":
		return []string{"options"}, []string{"confirm"}, true
	case "checkboxes":
		return []string{"options"}, []string{"initial_options", "confirm", "focus_on_load"}, true
	case "radio_buttons":
		return []string{"options"}, []string{"initial_option", "confirm", "focus_on_load"}, true
	case "static_select":
		return nil, append(shared, "options", "option_groups", "initial_option"), true
	case "multi_static_select":
		return nil, append(shared, "options", "option_groups", "initial_options", "max_selected_items"), true
	case "users_select":
		return nil, append(shared, "initial_user"), true
	case "multi_users_select":
		return nil, append(shared, "initial_users", "max_selected_items"), true
	case "channels_select":
		return nil, append(shared, "initial_channel", "response_url_enabled"), true
	case "conversations_select":
		return nil, append(shared, "initial_conversation", "default_to_current_conversation", "response_url_enabled", "filter"), true
	case "external_select":
		return nil, append(shared, "initial_option", "min_query_length"), true
	case "datepicker":
		return nil, append(shared, "initial_date"), true
	case "timepicker":
		return nil, append(shared, "initial_time", "timezone"), true
	case "datetimepicker":
		return nil, []string{"initial_date_time", "confirm", "focus_on_load"}, true
	case "plain_text_input":
		return nil, append(shared[:1:1], "initial_value", "multiline", "min_length", "max_length", "dispatch_action_config", "focus_on_load"), true
	case "email_text_input", "url_text_input":
		return nil, append(shared[:1:1], "initial_value", "dispatch_action_config", "focus_on_load"), true
	case "number_input":
		return []string{"is_decimal_allowed"}, append(shared[:1:1], "initial_value", "min_value", "max_value", "dispatch_action_config", "focus_on_load"), true
	}
	return nil, nil, false
}

func (p position) allows(kind string) bool {
	switch kind {
	case "image":
		return p == asAccessory
	case "button", "overflow":
		return p != asInput
	case "plain_text_input", "email_text_input", "url_text_input", "number_input":
		return p == asInput
	}
	return true
}

// element checks an element of a block; actionIDs are those seen in the same block so far.
func (k *blockKit) element(e map[string]any, at string, where position, actionIDs map[string]bool) {
	kind, _ := e["type"].(string)
	required, optional, known := elementFields(kind)
	if !known || !where.allows(kind) {
		k.fail(at+"/type", "unsupported type: %v", e["type"])
		return
	}
	required = append([]string{"type"}, required...)
	if kind != "image" {
		optional = append(optional, "action_id")
	}
	k.object(e, at, required, optional)
	if kind != "image" {
		k.actionID(e, at, actionIDs)
	}
	k.text(e, "placeholder", at, 150, true)
	k.child(e, "confirm", at, k.confirm)
	k.flag(e, "focus_on_load", at)
	switch kind {
	case "button":
		k.text(e, "text", at, 75, true)
		k.str(e, "value", at, 2000)
		k.address(e, "url", at)
		k.oneOf(e, "style", at, "primary", "danger")
		k.str(e, "accessibility_label", at, 75)
	case "image":
		k.address(e, "image_url", at)
		k.str(e, "alt_text", at, 2000)
	case "plain_text_input":
		k.textInput(e, at)
	default:
		k.choices(kind, e, at)
	}
}

func (k *blockKit) actionID(e map[string]any, at string, seen map[string]bool) {
	id := k.str(e, "action_id", at, 255)
	if id == "" {
		id = k.newID("a")
		e["action_id"] = id
	}
	if seen[id] {
		k.fail(at+"/action_id", "`action_id` %q already exists for this block", id)
	}
	seen[id] = true
}

func (k *blockKit) confirm(c map[string]any, at string) {
	k.object(c, at, []string{"title", "text", "confirm", "deny"}, []string{"style"})
	k.text(c, "title", at, 100, true)
	k.text(c, "text", at, 300, false)
	k.text(c, "confirm", at, 30, true)
	k.text(c, "deny", at, 30, true)
	k.oneOf(c, "style", at, "primary", "danger")
}

func (k *blockKit) textInput(e map[string]any, at string) {
	k.flag(e, "multiline", at)
	k.str(e, "initial_value", at, 3000)
	for _, name := range []string{"min_length", "max_length"} {
		v, ok := e[name]
		if !ok {
			continue
		}
		number, is := v.(json.Number)
		n, err := number.Int64()
		if !is || err != nil || n < 0 || n > 3000 {
			k.fail(at+"/"+name, "must be an integer between 0 and 3000")
		}
	}
}

// choices checks the options of menus.
func (k *blockKit) choices(kind string, e map[string]any, at string) {
	most := 100
	switch kind {
	case "overflow":
		most = 5
	case "checkboxes", "radio_buttons":
		most = 10
	case "static_select", "multi_static_select":
		if (e["options"] == nil) == (e["option_groups"] == nil) {
			k.fail(at, "must define either `options` or `option_groups`")
		}
	}
	k.items(e, "options", at, most, k.option)
	k.items(e, "option_groups", at, 100, func(group map[string]any, at string) {
		k.object(group, at, []string{"label", "options"}, nil)
		k.text(group, "label", at, 75, true)
		k.items(group, "options", at, 100, k.option)
	})
	k.child(e, "initial_option", at, k.option)
	k.items(e, "initial_options", at, most, k.option)
}

func (k *blockKit) option(o map[string]any, at string) {
	k.object(o, at, []string{"text", "value"}, []string{"description", "url"})
	k.text(o, "text", at, 75, false)
	k.str(o, "value", at, 150)
	k.text(o, "description", at, 75, false)
	k.address(o, "url", at)
}

// chart checks a data_visualization block: at most six series of twenty points, one point for each category.
func (k *blockKit) chart(b map[string]any, at string) {
	k.str(b, "title", at, 50)
	k.child(b, "chart", at, func(c map[string]any, at string) {
		k.oneOf(c, "type", at, "line", "bar", "area", "pie")
		if c["type"] == "pie" {
			k.object(c, at, []string{"type", "segments"}, nil)
			k.items(c, "segments", at, 6, func(o map[string]any, at string) { k.str(o, "label", at, 20) })
			return
		}
		k.object(c, at, []string{"type", "series", "axis_config"}, nil)
		categories := k.categories(c, at)
		names := map[string]bool{}
		k.items(c, "series", at, 6, func(series map[string]any, at string) {
			k.object(series, at, []string{"name", "data"}, nil)
			name := k.str(series, "name", at, 20)
			if names[name] {
				k.fail(at+"/name", "must be unique")
			}
			names[name] = true
			k.points(series, at, categories)
		})
	})
}

func (k *blockKit) categories(c map[string]any, at string) []string {
	var categories []string
	k.child(c, "axis_config", at, func(axis map[string]any, at string) {
		k.object(axis, at, []string{"categories"}, []string{"x_label", "y_label"})
		k.str(axis, "x_label", at, 50)
		k.str(axis, "y_label", at, 50)
		list, _ := axis["categories"].([]any)
		if len(list) == 0 || len(list) > 20 {
			k.fail(at+"/categories", "must have 1 to 20 items")
		}
		for i, item := range list {
			label, ok := item.(string)
			if !ok || len([]rune(label)) > 20 {
				k.fail(fmt.Sprintf("%s/categories/%d", at, i), "must be a string of less than 21 characters")
			}
			categories = append(categories, label)
		}
	})
	return categories
}

func (k *blockKit) points(series map[string]any, at string, categories []string) {
	count := 0
	k.items(series, "data", at, 20, func(point map[string]any, at string) {
		count++
		k.object(point, at, []string{"label", "value"}, nil)
		if label := k.str(point, "label", at, 20); !slices.Contains(categories, label) {
			k.fail(at+"/label", "must be one of %s", strings.Join(categories, ", "))
		}
	})
	if count != len(categories) {
		k.fail(at+"/data", "must have one point for each category")
	}
}
