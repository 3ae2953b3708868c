// The door: a token is shown once, and exchanged for a cookie that scripts can't read.
import { ActionGroup, Alert, Button, Card, CardBody, CardTitle, Form, FormGroup, FormHelperText, HelperText, HelperTextItem, TextInput } from '@patternfly/react-core';
import { useState } from 'react';
import type { ReactNode, SubmitEvent } from 'react';
import { said, useSignInMutation } from '../api/api';

export function SignIn(): ReactNode {
  const [token, setToken] = useState('');
  const [signIn, { isLoading, error }] = useSignInMutation();

  function submit(event: SubmitEvent): void {
    event.preventDefault();
    void signIn(token.trim());
  }

  return (
    <main className="ql-door">
      <Card className="ql-door__card">
        <CardTitle component="h1">Quicklime</CardTitle>
        <CardBody>
          <Form onSubmit={submit}>
            {error ? (
              <Alert variant="danger" isInline title={said(error).title}>
                {said(error).detail}
              </Alert>
            ) : null}
            <FormGroup label="Token" fieldId="token" isRequired>
              <TextInput
                id="token"
                type="password"
                autoComplete="current-password"
                value={token}
                onChange={(_event, value) => setToken(value)}
                isRequired
                aria-describedby="token-help"
              />
              <FormHelperText>
                <HelperText id="token-help">
                  <HelperTextItem>
                    Of an auditor, an operator or an administrator. The first one lies in the data directory, in
                    the file first-token; more are made with quicklime token create.
                  </HelperTextItem>
                </HelperText>
              </FormHelperText>
            </FormGroup>
            <ActionGroup>
              <Button type="submit" variant="primary" isLoading={isLoading} isDisabled={isLoading || token.trim() === ''}>
                Sign in
              </Button>
            </ActionGroup>
          </Form>
        </CardBody>
      </Card>
    </main>
  );
}
