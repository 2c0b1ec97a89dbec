'use strict'
// Incidents: alerts of one cause, and who looks after them.
function incidentsSection(rows){
 if(!rows.length)return null
 const act=(text,path,r,more={})=>el('button',{onclick:async()=>{try{await post(path,{alert:r.id,incident:true,...more})}catch(e){alert(e.message)}draw()}},text)
 const first=r=>r.alerts.length>1?` and ${num(r.alerts.length-1)} more ${r.alerts.length>2?'alerts':'alert'}${r.models.length>1?` of ${num(r.models.length)} models`:''}`:''
 const cared=r=>r.acknowledged_by?tag(`${r.acknowledged_by} looks after it`,'soft'):r.snoozed&&new Date(r.snoozed)>new Date()?tag(`quiet until ${when(r.snoozed)}`,'soft'):el('span',{className:'acts'},act('I look after it','/api/alerts/acknowledge',r),' ',act('Quiet until tomorrow','/api/alerts/snooze',r,{lasting:'1d'}))
 return section('Incidents',table(['since','','what',''],rows.map(r=>[when(r.opened),el('a',{href:'#'+encodeURIComponent(r.model)},r.model.replace('dataset:','')),el('span',{},tag(r.message,r.severity),tag(first(r),'soft')),cared(r)])))}
