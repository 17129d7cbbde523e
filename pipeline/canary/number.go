package canary

import (
	"encoding/json"
	"math"
	"strconv"
)

// Number is a float64 whose JSON form is null if it is NaN or infinite.
type Number float64

// Known tells that there is a number.
func (n Number) Known() bool { return !math.IsNaN(float64(n)) && !math.IsInf(float64(n), 0) }

// Text writes a score or a share for people, to two places, or otherwise if there is none.
func (n Number) Text(otherwise string) string {
	if !n.Known() {
		return otherwise
	}
	return strconv.FormatFloat(math.Round(float64(n)*100)/100, 'f', -1, 64)
}

// MarshalJSON writes the number, or null.
func (n Number) MarshalJSON() ([]byte, error) {
	if !n.Known() {
		return []byte("null"), nil
	}
	return strconv.AppendFloat(nil, float64(n), 'g', -1, 64), nil
}

// UnmarshalJSON reads a number, or null as NaN.
func (n *Number) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		*n = Number(math.NaN())
		return nil
	}
	var f float64
	if err := json.Unmarshal(data, &f); err != nil {
		return err
	}
	*n = Number(f)
	return nil
}
