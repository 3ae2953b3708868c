// One certificate: its status, its lineage, its life in the log, its fields; and, for who may, its revocation.
import {
  Alert,
  Button,
  Card,
  CardBody,
  CardTitle,
  DescriptionList,
  DescriptionListDescription,
  DescriptionListGroup,
  DescriptionListTerm,
  Modal,
  ModalBody,
  ModalFooter,
  ModalHeader,
  ModalVariant,
  PageSection,
  ProgressStep,
  ProgressStepper,
} from '@patternfly/react-core';
import { useState } from 'react';
import type { ReactNode } from 'react';
import { useParams } from 'react-router';
import { said, useCertificateQuery, useRevokeMutation, useSessionQuery } from '../api/api';
import type { CertificateDetail, CertificateRow, RecordRow } from '../api/api';
import { Lanes } from '../lanes/Lanes';
import { nodeName } from '../lanes/words';
import { Answer, Heading } from '../parts/Answer';
import { CertificateLabel } from '../parts/Labels';
import { Text } from '../parts/Text';
import { Time } from '../parts/Time';
import { AppLink, nowOf, useAsOf } from '../parts/address';
import { bare, eventName, shortSerial, withShortSerials } from '../text';
import { Select } from './CertificatesPage';

const REASONS: [string, string][] = [
  ['unspecified', 'Unspecified'],
  ['keyCompromise', 'Key compromise: somebody else may have the key'],
  ['superseded', 'Superseded: another certificate took its place'],
  ['cessationOfOperation', 'Cessation of operation: the service is gone'],
  ['affiliationChanged', 'Affiliation changed'],
  ['privilegeWithdrawn', 'Privilege withdrawn'],
];

export function CertificatePage(): ReactNode {
  const { serial = '' } = useParams();
  const { asOf } = useAsOf();
  const asked = useCertificateQuery({ serial, as_of: asOf });
  return <Answer asked={asked}>{(data) => <Certificate key={serial} data={data} />}</Answer>;
}

function Certificate({ data }: { data: CertificateDetail }): ReactNode {
  const one = data.certificate;
  const now = nowOf(data);
  return (
    <>
      <Heading
        title={
          <>
            <Text value={one.service ? bare(one.service) : `Certificate ${shortSerial(one.serial)}`} most={80} /> <CertificateLabel certificate={one} />
          </>
        }
      >
        <Actions data={data} />
      </Heading>
      <PageSection>
        <div className="ql-columns">
          <Card>
            <CardTitle component="h2">Certificate</CardTitle>
            <CardBody>
              <Facts data={data} now={now} />
            </CardBody>
          </Card>
          <Card>
            <CardTitle component="h2">Its life in the log</CardTitle>
            <CardBody>
              <Life data={data} now={now} />
            </CardBody>
          </Card>
        </div>
      </PageSection>
      <PageSection>
        <Card>
          <CardTitle component="h2">Lineage</CardTitle>
          <CardBody>
            <Lanes lanes={[data.lane]} now={now} label={bare(one.service)} highlighted={one.serial} />
          </CardBody>
        </Card>
      </PageSection>
      <PageSection>
        <Card>
          <CardTitle component="h2">Fields and extensions</CardTitle>
          <CardBody>
            <DescriptionList isHorizontal isCompact>
              {data.fields.map((field) => (
                <Term key={`${field.name} ${field.oid ?? ''}`} term={`${field.name}${field.critical ? ' (critical)' : ''}`}>
                  {field.value.length === 0 ? <span className="ql-subtle">empty</span> : null}
                  {field.value.map((value, place) => (
                    <div key={place} className="ql-value">
                      <Text value={value} most={500} />
                    </div>
                  ))}
                </Term>
              ))}
            </DescriptionList>
          </CardBody>
        </Card>
      </PageSection>
      <PageSection>
        <Card>
          <CardTitle component="h2">PEM</CardTitle>
          <CardBody>
            <pre className="ql-pem" tabIndex={0} aria-label="The certificate in PEM">
              {data.pem}
            </pre>
          </CardBody>
        </Card>
      </PageSection>
    </>
  );
}

function Term({ term, children }: { term: string; children: ReactNode }): ReactNode {
  return (
    <DescriptionListGroup>
      <DescriptionListTerm>{term}</DescriptionListTerm>
      <DescriptionListDescription>{children}</DescriptionListDescription>
    </DescriptionListGroup>
  );
}

function Facts({ data, now }: { data: CertificateDetail; now: number }): ReactNode {
  const one = data.certificate;
  return (
    <DescriptionList isHorizontal isCompact>
      <Term term="Names">
        {one.names.map((name) => (
          <div key={name}>
            <AppLink to="/services" query={{ name }}>
              <Text value={bare(name)} most={90} />
            </AppLink>
          </div>
        ))}
      </Term>
      <Term term="Node">
        <Text value={nodeName(one.node)} />
      </Term>
      <Term term="Valid from">
        <Time value={one.not_before} now={now} as="local" />
      </Term>
      <Term term="Valid until">
        <Time value={one.not_after} now={now} as="local" /> (<Time value={one.not_after} now={now} />)
      </Term>
      {one.revoked_at ? (
        <Term term="Revoked">
          <Time value={one.revoked_at} now={now} as="local" />, {one.reason}
        </Term>
      ) : null}
      {one.replaced_by ? (
        <Term term="Replaced by">
          <AppLink to={`/certificates/${one.replaced_by}`} className="ql-mono">
            {shortSerial(one.replaced_by)}
          </AppLink>{' '}
          <Time value={one.replaced_at ?? one.not_after} now={now} />
        </Term>
      ) : one.status === 'valid' ? (
        <Term term="Renewal expected">
          <Time value={one.due_at} now={now} />
        </Term>
      ) : null}
      {one.predecessor ? (
        <Term term="Took the place of">
          <AppLink to={`/certificates/${one.predecessor}`} className="ql-mono">
            {shortSerial(one.predecessor)}
          </AppLink>
        </Term>
      ) : null}
      <Term term="Requester">
        <Text value={`${one.requester.kind} ${one.requester.id}`} most={60} />
        {one.requester.role ? ` (${one.requester.role})` : ''}
      </Term>
      <Term term="Profile">
        <Text value={one.profile} />, {one.key_type}
      </Term>
      <Term term="Serial">
        <span className="ql-mono ql-break">{one.serial}</span>
      </Term>
      <Term term="SHA-256">
        <span className="ql-mono ql-break">{one.fingerprint}</span>
      </Term>
      <Term term="Key SHA-256">
        <span className="ql-mono ql-break">{data.spki_sha256}</span>
      </Term>
    </DescriptionList>
  );
}

/** The variant of a step: what a record means for the certificate. */
export function stepOf(record: RecordRow): 'success' | 'danger' | 'warning' | 'info' {
  if (record.refusal !== null) return 'warning';
  if (record.type.startsWith('quicklime.certificate.revoked')) return 'danger';
  if (record.type.startsWith('quicklime.certificate.issued')) return 'success';
  if (record.type.startsWith('quicklime.request.refused')) return 'warning';
  return 'info';
}

function Life({ data, now }: { data: CertificateDetail; now: number }): ReactNode {
  const refused = new Map(data.refusals.map((one) => [one.offset, one]));
  return (
    <ProgressStepper isVertical aria-label="Records about this certificate">
      {data.records.map((record) => {
        const refusal = refused.get(record.offset);
        return (
          <ProgressStep
            key={record.offset}
            id={`record-${record.offset}`}
            titleId={`record-title-${record.offset}`}
            variant={stepOf(record)}
            description={
              <>
                <Time value={record.time} now={now} /> · record{' '}
                <AppLink to={`/log/${record.offset}`}>{record.offset}</AppLink>
                {record.requester ? (
                  <>
                    {' '}
                    · by <Text value={`${record.requester.kind} ${shortSerial(record.requester.id)}`} />
                  </>
                ) : null}
                {refusal ? (
                  <div>
                    <Text value={withShortSerials(refusal.detail)} most={200} />
                  </div>
                ) : null}
              </>
            }
          >
            {refusal ? `${refusal.operation} refused` : eventName(record.type)}
            {record.refusal ? ' (does not stand)' : ''}
          </ProgressStep>
        );
      })}
    </ProgressStepper>
  );
}

function download(name: string, content: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([content], { type: 'application/x-pem-file' }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

function Actions({ data }: { data: CertificateDetail }): ReactNode {
  const { data: session } = useSessionQuery(undefined);
  const one = data.certificate;
  const [isOpen, setOpen] = useState(false);
  const mayRevoke = session?.permissions.includes('revoke') && one.status === 'valid' && data.as_of.live;
  return (
    <div className="ql-actions">
      <Button variant="secondary" onClick={() => download(`${shortSerial(one.serial)}.pem`, data.pem)}>
        Certificate
      </Button>
      <Button variant="secondary" onClick={() => download(`${shortSerial(one.serial)}-chain.pem`, data.chain)}>
        Chain
      </Button>
      {mayRevoke ? (
        <Button variant="danger" onClick={() => setOpen(true)}>
          Revoke
        </Button>
      ) : null}
      {isOpen ? <Revocation certificate={one} close={() => setOpen(false)} /> : null}
    </div>
  );
}

function Revocation({ certificate, close }: { certificate: CertificateRow; close: () => void }): ReactNode {
  const [reason, setReason] = useState('unspecified');
  const [revoke, { isLoading, error }] = useRevokeMutation();

  async function confirmed(): Promise<void> {
    const answer = await revoke({ serial: certificate.serial, reason });
    if (!('error' in answer)) close();
  }

  return (
    <Modal variant={ModalVariant.small} isOpen onClose={close} aria-labelledby="revoke-title" aria-describedby="revoke-body">
      <ModalHeader title={`Revoke ${shortSerial(certificate.serial)}`} labelId="revoke-title" />
      <ModalBody id="revoke-body">
        {error ? (
          <Alert variant="danger" isInline title={said(error).title}>
            {said(error).detail}
          </Alert>
        ) : null}
        <p>
          <Text value={bare(certificate.service)} /> on <Text value={nodeName(certificate.node)} /> will not be trusted by
          whoever asks for its status. This can&apos;t be undone.
        </p>
        <Select label="Reason" value={reason} options={REASONS} onChange={setReason} />
      </ModalBody>
      <ModalFooter>
        <Button variant="danger" isLoading={isLoading} isDisabled={isLoading} onClick={() => void confirmed()}>
          Revoke for ever
        </Button>
        <Button variant="link" onClick={close}>
          Cancel
        </Button>
      </ModalFooter>
    </Modal>
  );
}
