package config

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
)

var variable = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)

// expand replaces ${NAME} in every string of the configuration.
func expand(c *Config, getenv func(string) (string, bool)) error {
	return expandValue(reflect.ValueOf(c).Elem(), "", getenv)
}

func expandValue(v reflect.Value, at string, getenv func(string) (string, bool)) error {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			return expandValue(v.Elem(), at, getenv)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
			if err := expandValue(v.Field(i), strings.TrimPrefix(at+"."+name, "."), getenv); err != nil {
				return err
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			if err := expandValue(v.Index(i), fmt.Sprintf("%s[%d]", at, i), getenv); err != nil {
				return err
			}
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			value := reflect.New(v.Type().Elem()).Elem()
			value.Set(v.MapIndex(key))
			if err := expandValue(value, at+"."+key.String(), getenv); err != nil {
				return err
			}
			v.SetMapIndex(key, value)
		}
	case reflect.String:
		s, err := expandString(v.String(), getenv)
		if err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
		v.SetString(s)
	default: // numbers and booleans hold no names
	}
	return nil
}

func expandString(s string, getenv func(string) (string, bool)) (string, error) {
	var missing string
	out := variable.ReplaceAllStringFunc(s, func(m string) string {
		name := m[2 : len(m)-1]
		value, ok := getenv(name)
		if !ok {
			missing = name
		}
		return value
	})
	if missing != "" {
		return "", fmt.Errorf("the environment variable %s is not set", missing)
	}
	return out, nil
}

// readSecrets reads what is given as a file.
func (c *Config) readSecrets() error {
	read := func(key string, into *Secret, file string) error {
		if file == "" {
			return nil
		}
		if *into != "" {
			return fmt.Errorf("%s and %s_file exclude each other", key, key)
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("%s_file: %w", key, err)
		}
		*into = Secret(strings.TrimRight(string(data), "\r\n"))
		return nil
	}
	lines := func(key string, into *[]Secret, file string) error {
		if file == "" {
			return nil
		}
		var all Secret
		if err := read(key, &all, file); err != nil {
			return err
		}
		for line := range strings.Lines(all.Reveal()) {
			if line = strings.TrimSpace(line); line != "" {
				*into = append(*into, Secret(line))
			}
		}
		return nil
	}
	errs := []error{
		read("console.password", &c.Console.Password, c.Console.PasswordFile),
		read("gitlab.token", &c.GitLab.Token, c.GitLab.TokenFile),
		lines("gitlab.signing_tokens", &c.GitLab.SigningTokens, c.GitLab.SigningTokensFile),
		lines("gitlab.secret_tokens", &c.GitLab.SecretTokens, c.GitLab.SecretTokensFile),
	}
	if c.Slack != nil {
		errs = append(errs,
			read("slack.token", &c.Slack.Token, c.Slack.TokenFile),
			read("slack.signing_secret", &c.Slack.SigningSecret, c.Slack.SigningSecretFile))
	}
	for i := range c.Sources {
		for _, k := range c.Sources[i].kinds() {
			for _, hidden := range k.secrets {
				errs = append(errs, read(fmt.Sprintf("metrics_sources[%d].%s.%s", i, k.key, hidden.key), hidden.into, hidden.file))
			}
		}
	}
	for i, cl := range c.Clusters {
		if cl.Agent != nil {
			errs = append(errs, read(fmt.Sprintf("clusters[%d].agent.token", i), &cl.Agent.Token, cl.Agent.TokenFile))
		}
	}
	for i := range c.Registries {
		r := &c.Registries[i]
		errs = append(errs, read(fmt.Sprintf("registries[%d].password", i), &r.Password, r.PasswordFile))
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
