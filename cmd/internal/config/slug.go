package config

import (
	"crypto/sha256"
	"math/big"
	"strings"
)

const (
	maxSlug = 24 // characters
	hashed  = 6  // of which a hash takes so many, after a dash
)

// slug is an environment's name as a DNS label. It is the one that GitLab makes, so that
// it is what CI jobs know as $CI_ENVIRONMENT_SLUG: a name that had to be changed or
// shortened ends with a hash of the whole name.
// Source: https://docs.gitlab.com/ci/variables/predefined_variables/
func slug(name string) string {
	plain := slugChars(name)
	if plain == name && len(plain) <= maxSlug {
		return strings.TrimSuffix(plain, "-")
	}
	start := plain[:min(len(plain), maxSlug-hashed-1)]
	if !strings.HasSuffix(start, "-") {
		start += "-"
	}
	return start + hash(name)
}

// reviewSlug tells one review environment from all others that may share its namespace, also
// those of other projects: up to 20 characters, which leave names of objects some room.
func reviewSlug(project, name string) string {
	const readable = 13
	start := slugChars(name)
	return strings.TrimSuffix(start[:min(len(start), readable)], "-") + "-" + hash(project+"\x00"+name)
}

// slugStart is what the slugs of all names begin with that begin with prefix.
func slugStart(prefix string) string {
	if prefix == "" {
		return ""
	}
	start := slugChars(prefix)
	return start[:min(len(start), maxSlug-hashed-1)]
}

// slugChars leaves lower-case letters, digits and single dashes, after a letter.
func slugChars(name string) string {
	var b strings.Builder
	last := rune(0)
	write := func(r rune) {
		if r != '-' || last != '-' {
			b.WriteRune(r)
		}
		last = r
	}
	for _, r := range strings.ToLower(name) {
		letter, digit := r >= 'a' && r <= 'z', r >= '0' && r <= '9'
		if !letter && b.Len() == 0 {
			b.WriteString("env")
			write('-')
		}
		if letter || digit {
			write(r)
		} else {
			write('-')
		}
	}
	return b.String()
}

func hash(name string) string {
	sum := sha256.Sum256([]byte(name))
	digits := new(big.Int).SetBytes(sum[:]).Text(36)
	return digits[max(0, len(digits)-hashed):]
}
