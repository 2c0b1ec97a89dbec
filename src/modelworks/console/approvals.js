'use strict'
// Approvals: versions that passed their gates and wait for a person, and the two answers.
function approvalsSection(rows){
 if(!rows.length)return null
 const act=(text,path,r,body)=>el('button',{onclick:async()=>{const more=body(r);if(more===null)return;try{await post(path,{ref:r.ref,...more})}catch(e){alert(e.message)}draw()}},text)
 const sure=r=>confirm(`Bring out ${r.ref}?`)?{}:null,asked=r=>{const reason=prompt(`Why is ${r.ref} turned down?`);return reason===null?null:{reason}}
 return section('Waits for a person',table(['since','version','champion#','metrics at validation~','because',''],rows.slice(0,20).map(r=>[when(r.created),el('a',{href:'#'+encodeURIComponent(r.ref)},r.ref),r.champion,metricsOf(r.metrics),(r.reason||'').replace('waits for approval: ',''),
  el('span',{className:'acts'},act('Approve','/api/approve',r,sure),' ',act('Reject','/api/reject',r,asked))])),
  rows.length>20?el('p',{className:'soft'},`and ${num(rows.length-20)} more`):null)}
