// Package awssm reads secrets from AWS Secrets Manager. Credentials come from
// where AWS's own tools take them: the daemon's environment, ~/.aws, the role of
// the machine. It stands apart so that nobody else links the SDK.
package awssm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/target/local/secrets"
)

// Source is one secret's newest version.
type Source struct{ Secret environments.AWSSecret }

// New is for secrets.Makers.
func New(s environments.AWSSecret) secrets.Source { return Source{s} }

// Read implements secrets.Source. What AWS answers gets into no error but for
// its code.
func (s Source) Read(ctx context.Context) (secrets.Value, error) {
	c, err := config.LoadDefaultConfig(ctx, config.WithRegion(s.Secret.Region))
	if err != nil {
		return secrets.Value{}, fmt.Errorf("AWS: %w", err)
	}
	out, err := secretsmanager.NewFromConfig(c).GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: aws.String(s.Secret.SecretID)})
	if err != nil {
		return secrets.Value{}, s.explain(ctx, err)
	}
	text := aws.ToString(out.SecretString)
	if out.SecretString == nil {
		text = string(out.SecretBinary)
	}
	if s.Secret.Key != "" {
		if text, err = field(text, s.Secret.Key); err != nil {
			return secrets.Value{}, fmt.Errorf("AWS secret %s: %w", s.Secret.SecretID, err)
		}
	}
	var changed time.Time
	if out.CreatedDate != nil {
		changed = *out.CreatedDate // of this version
	}
	return secrets.NewValue(text, changed)
}

func (s Source) explain(ctx context.Context, err error) error {
	var api smithy.APIError
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("AWS secret %s: no answer in time", s.Secret.SecretID)
	case errors.As(err, &api):
		return fmt.Errorf("AWS secret %s in %s: %s; the daemon's role needs secretsmanager:GetSecretValue on it", s.Secret.SecretID, s.Secret.Region, api.ErrorCode())
	}
	return fmt.Errorf("AWS secret %s in %s: %w", s.Secret.SecretID, s.Secret.Region, err)
}

// field is one text of a JSON object.
func field(text, key string) (string, error) {
	var all map[string]json.RawMessage
	if json.Unmarshal([]byte(text), &all) != nil {
		return "", fmt.Errorf("it is no JSON object, and key %s is asked of it", key)
	}
	raw, ok := all[key]
	if !ok {
		return "", fmt.Errorf("it has no key %s", key)
	}
	var value string
	if json.Unmarshal(raw, &value) != nil {
		return "", fmt.Errorf("its key %s is no text", key)
	}
	return value, nil
}
