package backup

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"filippo.io/age"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/smartcloudops/gate/checks"
)

// store is an object store with Amazon's API. Everything in it is sealed.
type store struct {
	client   *s3.Client
	bucket   string
	prefix   string // ends with /, or is empty
	identity *age.X25519Identity
}

func (k *Keeper) store() (*store, error) {
	r := k.opt.Remote
	if r.Broken != "" {
		return nil, errors.New(r.Broken)
	}
	id, err := age.ParseX25519Identity(r.Identity)
	if err != nil {
		// What the parser says may repeat the key.
		return nil, errors.New("the key for sealed copies is none; make one with age-keygen, it looks like AGE-SECRET-KEY-1…")
	}
	region := r.Region
	if region == "" {
		region = "us-east-1"
	}
	client := s3.New(s3.Options{
		Region: region,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: r.AccessKey, SecretAccessKey: r.SecretKey}, nil
		}),
	}, func(o *s3.Options) {
		if r.Endpoint != "" {
			o.BaseEndpoint = aws.String(r.Endpoint)
			o.UsePathStyle = true
		}
	})
	prefix := strings.Trim(r.Prefix, "/")
	if prefix != "" {
		prefix += "/"
	}
	return &store{client: client, bucket: r.Bucket, prefix: prefix, identity: id}, nil
}

func (s *store) at(name string) *string { return aws.String(s.prefix + name) }

func (s *store) list(ctx context.Context) (listed, error) {
	l := listed{sizes: map[string]int64{}}
	pages := s3.NewListObjectsV2Paginator(s.client, &s3.ListObjectsV2Input{Bucket: aws.String(s.bucket), Prefix: aws.String(s.prefix)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return l, unreachable(ctx, "list "+s.bucket, err)
		}
		for _, o := range page.Contents {
			l.sizes[strings.TrimPrefix(aws.ToString(o.Key), s.prefix)] = aws.ToInt64(o.Size)
		}
	}
	return l, nil
}

// partBytes is how much is held in memory, and sent at once with a checksum.
const partBytes = 16 << 20

// put seals what in says and stores it: what arrives otherwise than it was sent
// is refused by its checksum. A part of an object is never there.
func (s *store) put(ctx context.Context, name string, in io.Reader) (err error) {
	sealed := s.seal(in)
	defer sealed.Close()
	part := make([]byte, partBytes)
	n, err := io.ReadFull(sealed, part)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		_, err = s.client.PutObject(ctx, &s3.PutObjectInput{
			Bucket: &s.bucket, Key: s.at(name), Body: bytes.NewReader(part[:n]), ChecksumAlgorithm: types.ChecksumAlgorithmSha256,
		})
		return unreachable(ctx, "store "+name, err)
	case err != nil:
		return fmt.Errorf("seal %s: %w", name, err)
	}
	up, err := s.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
		Bucket: &s.bucket, Key: s.at(name), ChecksumAlgorithm: types.ChecksumAlgorithmSha256,
	})
	if err != nil {
		return unreachable(ctx, "store "+name, err)
	}
	defer func() {
		if err != nil {
			_, _ = s.client.AbortMultipartUpload(context.WithoutCancel(ctx), &s3.AbortMultipartUploadInput{Bucket: &s.bucket, Key: s.at(name), UploadId: up.UploadId})
		}
	}()
	var parts []types.CompletedPart
	for last := false; !last; {
		number := aws.Int32(int32(len(parts) + 1)) // #nosec G115 -- the store allows 10,000
		done, err := s.client.UploadPart(ctx, &s3.UploadPartInput{
			Bucket: &s.bucket, Key: s.at(name), UploadId: up.UploadId, PartNumber: number, Body: bytes.NewReader(part[:n]),
			ChecksumAlgorithm: types.ChecksumAlgorithmSha256,
		})
		if err != nil {
			return unreachable(ctx, "store "+name, err)
		}
		parts = append(parts, types.CompletedPart{ETag: done.ETag, PartNumber: number, ChecksumSHA256: done.ChecksumSHA256})
		n, err = io.ReadFull(sealed, part)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("seal %s: %w", name, err)
		}
		last = n == 0
	}
	_, err = s.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &s.bucket, Key: s.at(name), UploadId: up.UploadId, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	})
	return unreachable(ctx, "store "+name, err)
}

func (s *store) putFile(ctx context.Context, name, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("store %s: %w", name, err)
	}
	defer f.Close()
	return s.put(ctx, name, f)
}

func (s *store) putJSON(ctx context.Context, name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("store %s: %w", name, err)
	}
	return s.put(ctx, name, bytes.NewReader(b))
}

// get is what the object says, opened.
func (s *store) get(ctx context.Context, name string) (io.ReadCloser, error) {
	o, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.bucket, Key: s.at(name)})
	if err != nil {
		return nil, unreachable(ctx, "fetch "+name, err)
	}
	in, err := s.open(name, o.Body)
	if err != nil {
		o.Body.Close()
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{in, o.Body}, nil
}

func (s *store) getJSON(ctx context.Context, name string, v any) error {
	in, err := s.get(ctx, name)
	if err != nil {
		return err
	}
	defer in.Close()
	b, err := io.ReadAll(io.LimitReader(in, 1<<20))
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		return &checks.BackupFault{Kind: checks.FaultCorrupt, What: fmt.Sprintf("%s can't be read: %v", name, err)}
	}
	return nil
}

func (s *store) remove(ctx context.Context, name string) error {
	_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.bucket, Key: s.at(name)})
	return unreachable(ctx, "remove "+name, err)
}

// unreachable makes a fault of the store of an error that is not the caller's.
func unreachable(ctx context.Context, doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return &checks.BackupFault{Kind: checks.FaultUnreachable, What: fmt.Sprintf("%s: %.300v", doing, err)}
}
