package awssm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/smartcloudops/gate/environments"
)

// manager is a Secrets Manager of one secret.
type manager struct {
	text   string
	code   string // of an error
	asked  string
	signed bool
}

func (m *manager) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var in struct{ SecretId string }
	_ = json.NewDecoder(r.Body).Decode(&in)
	m.asked, m.signed = in.SecretId, strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ")
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	if r.Header.Get("X-Amz-Target") != "secretsmanager.GetSecretValue" {
		m.code = "UnknownOperationException"
	}
	if m.code != "" {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"__type":%q,"message":"about %s"}`, m.code, m.text)
		return
	}
	b, _ := json.Marshal(m.text)
	fmt.Fprintf(w, `{"Name":%q,"SecretString":%s,"VersionId":"v","CreatedDate":1750000000.5}`, in.SecretId, b)
}

func use(t *testing.T, address string) {
	t.Helper()
	for k, v := range map[string]string{
		"AWS_ENDPOINT_URL_SECRETS_MANAGER": address, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_MAX_ATTEMPTS": "1",
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_PROFILE": "", "HOME": t.TempDir(),
	} {
		t.Setenv(k, v)
	}
}

func TestRead(t *testing.T) {
	for name, c := range map[string]struct {
		text, key, code string
		want, err       string
	}{
		"a text":              {text: "hunter22", want: "hunter22"},
		"a key of an object":  {text: `{"user":"app","password":"hunter22"}`, key: "password", want: "hunter22"},
		"another key":         {text: `{"user":"hunter22"}`, key: "password", err: "it has no key password"},
		"no object":           {text: "hunter22", key: "password", err: "no JSON object"},
		"a number":            {text: `{"password":12345678}`, key: "password", err: "no text"},
		"empty":               {text: "", err: "it is empty"},
		"it does not exist":   {text: "hunter22", code: "ResourceNotFoundException", err: "ResourceNotFoundException"},
		"it may not be read":  {text: "hunter22", code: "AccessDeniedException", err: "secretsmanager:GetSecretValue"},
		"what nobody expects": {text: "hunter22", code: "InternalServiceError", err: "InternalServiceError"},
	} {
		t.Run(name, func(t *testing.T) {
			m := &manager{text: c.text, code: c.code}
			s := httptest.NewServer(m)
			defer s.Close()
			use(t, s.URL)
			v, err := New(environments.AWSSecret{SecretID: "shop/key", Region: "eu-central-1", Key: c.key}).Read(t.Context())
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "hunter22") {
					t.Fatalf("%v, want %q", err, c.err)
				}
				return
			}
			if err != nil || v.Reveal() != c.want || v.Changed().Unix() != 1750000000 || m.asked != "shop/key" || !m.signed {
				t.Errorf("%v %v %+v", v.Changed(), err, m)
			}
			if strings.Contains(fmt.Sprintf("%v %+v %#v %s", v, v, v, v), c.want) {
				t.Error("a value prints itself")
			}
		})
	}
}

func TestReadWithoutAWS(t *testing.T) {
	use(t, "http://127.0.0.1:1")
	if _, err := New(environments.AWSSecret{SecretID: "shop/key", Region: "eu-central-1"}).Read(t.Context()); err == nil || !strings.Contains(err.Error(), "shop/key in eu-central-1") {
		t.Errorf("%v", err)
	}
}

// TestReadFromMoto asks somebody else's Secrets Manager.
func TestReadFromMoto(t *testing.T) {
	program, err := exec.LookPath("moto_server")
	if err != nil {
		t.Skip("SKIPPED: there is no moto_server (pip install 'moto[server]'). Without it only a fake of our own shows that AWS is asked rightly")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(address)
	cmd := exec.Command(program, "-H", "127.0.0.1", "-p", port)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	use(t, "http://"+address)
	create := func() error {
		body := []byte(`{"Name":"shop/key","SecretString":"{\"password\":\"hunter22\"}","ClientRequestToken":"EXAMPLE1-90ab-cdef-fedc-ba987EXAMPLE"}`)
		r, err := http.NewRequest(http.MethodPost, "http://"+address, bytes.NewReader(body))
		if err != nil {
			return err
		}
		r.Header.Set("Content-Type", "application/x-amz-json-1.1")
		r.Header.Set("X-Amz-Target", "secretsmanager.CreateSecret")
		r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=a/20260101/eu-central-1/secretsmanager/aws4_request, SignedHeaders=host, Signature=0")
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("create: %s", res.Status)
		}
		return nil
	}
	deadline := time.Now().Add(60 * time.Second)
	for err = create(); err != nil; err = create() {
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		<-time.After(100 * time.Millisecond)
	}
	v, err := New(environments.AWSSecret{SecretID: "shop/key", Region: "eu-central-1", Key: "password"}).Read(t.Context())
	if err != nil || v.Reveal() != "hunter22" || time.Since(v.Changed()) > time.Hour {
		t.Errorf("%v %v", v.Changed(), err)
	}
	if _, err := New(environments.AWSSecret{SecretID: "shop/other", Region: "eu-central-1"}).Read(t.Context()); err == nil || !strings.Contains(err.Error(), "ResourceNotFoundException") {
		t.Errorf("%v", err)
	}
}
