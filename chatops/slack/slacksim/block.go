package slacksim

import (
	"bytes"
	"encoding/json"
)

// Block is a Block Kit block with the parts that people see. Raw is the whole block as Slack returns it, ids filled in.
type Block struct {
	Type      string          `json:"type"`
	ID        string          `json:"block_id"`
	Text      Text            `json:"text"`
	Fields    []Text          `json:"fields"`
	Elements  []Element       `json:"elements"`
	Accessory *Element        `json:"accessory"`
	Element   *Element        `json:"element"`
	Label     Text            `json:"label"`
	Hint      Text            `json:"hint"`
	Optional  bool            `json:"optional"`
	Title     Text            `json:"title"`
	ImageURL  string          `json:"image_url"`
	AltText   string          `json:"alt_text"`
	Raw       json.RawMessage `json:"-"`
}

// Element is an interactive element, an image or a text inside a block.
type Element struct {
	Type           string   `json:"type"`
	ActionID       string   `json:"action_id"`
	Text           Text     `json:"text"`
	Value          string   `json:"value"`
	Style          string   `json:"style"`
	URL            string   `json:"url"`
	Confirm        *Confirm `json:"confirm"`
	Placeholder    Text     `json:"placeholder"`
	Options        []Option `json:"options"`
	InitialValue   string   `json:"initial_value"`
	InitialOption  *Option  `json:"initial_option"`
	InitialOptions []Option `json:"initial_options"`
	Multiline      bool     `json:"multiline"`
	MinLength      int      `json:"min_length"`
	MaxLength      int      `json:"max_length"`
	ImageURL       string   `json:"image_url"`
	AltText        string   `json:"alt_text"`
	// VisibleTo are the only users who see a button; empty means everybody.
	VisibleTo []string `json:"visible_to_user_ids"`
	// BlockID is the block that holds the element.
	BlockID string `json:"-"`
}

// Confirm is the question that Slack asks before an action is sent.
type Confirm struct {
	Title   Text   `json:"title"`
	Text    Text   `json:"text"`
	Confirm Text   `json:"confirm"`
	Deny    Text   `json:"deny"`
	Style   string `json:"style,omitempty"`
}

// Option is a choice of a menu.
type Option struct {
	Text  Text   `json:"text"`
	Value string `json:"value"`
}

// Text is a text object. Kind is "plain_text" or "mrkdwn", or empty where Block Kit wants a bare string.
type Text struct {
	Kind string
	Text string
}

// UnmarshalJSON takes a text object or a string.
func (t *Text) UnmarshalJSON(raw []byte) error {
	if bytes.HasPrefix(raw, []byte(`"`)) {
		return json.Unmarshal(raw, &t.Text)
	}
	var object struct{ Type, Text string }
	if err := json.Unmarshal(raw, &object); err != nil {
		return err
	}
	t.Kind, t.Text = object.Type, object.Text
	return nil
}

// MarshalJSON writes the block as Slack returns it.
func (b Block) MarshalJSON() ([]byte, error) { return b.Raw, nil }

// MarshalJSON writes the text object.
func (t Text) MarshalJSON() ([]byte, error) {
	if t.Kind == "" {
		return json.Marshal(t.Text)
	}
	return json.Marshal(map[string]string{"type": t.Kind, "text": t.Text})
}

// readBlock reads what people see of a validated block; of kinds that Block doesn't describe only type and id.
func readBlock(raw json.RawMessage) Block {
	var b Block
	if err := json.Unmarshal(raw, &b); err != nil {
		var head struct {
			Type    string `json:"type"`
			BlockID string `json:"block_id"`
		}
		// A block that was validated is an object with these two; there is nothing to fall back to beyond them.
		_ = json.Unmarshal(raw, &head)
		b = Block{Type: head.Type, ID: head.BlockID}
	}
	b.Raw = raw
	for i := range b.Elements {
		b.Elements[i].BlockID = b.ID
	}
	for _, e := range []*Element{b.Accessory, b.Element} {
		if e != nil {
			e.BlockID = b.ID
		}
	}
	return b
}

func rawBlocks(blocks []Block) []json.RawMessage {
	out := make([]json.RawMessage, len(blocks))
	for i, b := range blocks {
		out[i] = b.Raw
	}
	return out
}

// interactive returns the elements of a message that people can use, in reading order.
func interactive(blocks []Block) []Element {
	var out []Element
	for _, b := range blocks {
		switch b.Type {
		case "actions", "context_actions":
			out = append(out, b.Elements...)
		case "section":
			if b.Accessory != nil && b.Accessory.Type != "image" {
				out = append(out, *b.Accessory)
			}
		}
	}
	return out
}

func buttons(blocks []Block) []Element {
	var out []Element
	for _, e := range interactive(blocks) {
		if e.Type == "button" {
			out = append(out, e)
		}
	}
	return out
}
